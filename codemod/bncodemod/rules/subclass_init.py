"""BN103: what classes with an ``__init__``, and those that call them, say of the flag."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from bncodemod.catalog.torch import FLAG, NormClass
from bncodemod.rules.rule import Match
from bncodemod.scan.construction import own_calls
from bncodemod.scan.excerpt import excerpt
from bncodemod.scan.flag import fills_up_to_flag
from bncodemod.scan.index import Exit, ExitKind
from bncodemod.scan.libraries import uses_of
from bncodemod.scan.literals import is_false
from bncodemod.scan.mentions import Role, role
from bncodemod.scan.need import Need
from bncodemod.scan.scopes import own_method
from bncodemod.strategies.arguments import bind
from bncodemod.strategies.batch_norm_class import super_calls
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Decision, Open, Rewrite, Safe
from bncodemod.strategies.no_running_stats import switch_off


def through_init(
    context: Context,
    base: ast.expr,
    norm: NormClass,
    owner: ast.ClassDef,
    init: ast.FunctionDef | ast.AsyncFunctionDef,
) -> Iterator[Match]:
    """The calls of ``super().__init__``, and the calls of the class that name the flag."""
    calls = super_calls(init, base)
    if not calls:
        yield Match(
            base,
            lambda: Open(
                f"class {owner.name} does not call super().__init__ where it can be seen",
                f"pass {FLAG}=False on to batch norm",
            ),
        )
    star = init.args.vararg
    filled = _filled_up_to_flag(context, owner) if star is not None else ""
    for call, skip in calls:
        if star is not None and filled and any(isinstance(a, ast.Starred) for a in call.args):
            yield Match(call, partial(_open_filled, star, filled))
        else:
            yield _handed_on(context, call, norm, skip, owner, init)
    by_caller = any(_feeding_parameter(call, norm, skip, init) for call, skip in calls)
    yield from _explicit_flags(context, owner, _signature(owner, init), by_caller)


def flags_in_other_files(context: Context) -> Iterator[Match]:
    """Calls that ask a class or alias of another file for running statistics."""
    for qualified, norm in context.names.index.handled.items():
        if norm.family == "batch" and not context.keeps_batch_norm:
            continue
        for node, _ in uses_of(context.names, [qualified]):
            above = context.tree.parents.get(node)
            use = role(context.names, node)
            if isinstance(above, ast.Call) and use in (Role.CALL, Role.PARTIAL):
                skip = int(use is Role.PARTIAL)
                if FLAG in bind(above, norm.parameters, skip).value:
                    yield Match(above, partial(switch_off, context, above, norm, skip))
            elif isinstance(above, ast.ClassDef) and use is Role.BASE:
                yield from _of_heir(context, above, node, norm)


def _of_heir(
    context: Context, heir: ast.ClassDef, base: ast.expr, norm: NormClass, by_caller: bool = True
) -> Iterator[Match]:
    """What a class says of the flag to its base, a norm's subclass that sees to it by default.

    ``by_caller`` says whether the base lets those that call it have a say.
    """
    context.tree.expand(heir)
    init = own_method(heir, "__init__")
    for call, skip in super_calls(init, base) if init is not None else ():
        rebased = context.names.qualified(base) in context.names.index.rebased_elsewhere
        if _begins_above(call, heir) and not rebased:
            yield Match(call, partial(_open_begins_above, heir, base))
        elif by_caller and init is not None and FLAG in bind(call, norm.parameters, skip).value:
            yield _handed_on(context, call, norm, skip, heir, init)
    signature = replace(norm, name=heir.name) if init is None else _signature(heir, init)
    yield from _explicit_flags(context, heir, signature, by_caller)


def passed_over(context: Context) -> Iterator[Match]:
    """``nn.BatchNorm2d.__init__(self, …)`` in a class whose base derives from it."""
    for mention in context.mentions:
        method = context.tree.parents.get(mention.node)
        call = context.tree.parents.get(method) if method is not None else None
        if (
            isinstance(method, ast.Attribute)
            and method.attr == "__init__"
            and isinstance(call, ast.Call)
            and method is call.func
            and mention.norm.family == "batch"
            and mention.node not in context.claimed
        ):
            if context.keeps_batch_norm:
                yield Match(call, partial(switch_off, context, call, mention.norm, 1))
            else:
                yield Match(call, partial(_open_passed_over, ast.unparse(method)))


def _filled_up_to_flag(context: Context, owner: ast.ClassDef) -> str:
    """What builds a class with positional arguments up to the flag, in this file or another."""
    for use in context.tree.occurrences(owner.name):
        if isinstance(use, ast.Name) and fills_up_to_flag(context.names, use):
            return excerpt(context.tree.parent(use))
    way = Exit(ExitKind.VARIABLE, owner.name, many=True)
    beyond = context.names.index.beyond.get(way)
    for demand in beyond.demands if beyond is not None else ():
        if demand.need in (Need.FLAG_BY_STAR, Need.FLAG_BY_POSITION):
            return f"{demand.code} in {demand.place}"
    return ""


def _open_filled(star: ast.arg, by: str) -> Open:
    return Open(
        f"*{star.arg} may hold {FLAG} ({by}): neither it nor a keyword can be set safely",
        f"write the arguments out, with {FLAG}=False",
    )


def _handed_on(
    context: Context,
    call: ast.Call,
    norm: NormClass,
    skip: int,
    owner: ast.ClassDef,
    init: ast.FunctionDef | ast.AsyncFunctionDef,
) -> Match:
    """The flag of a call of ``super().__init__``: where it is a default, that, else the call."""
    parameter = _feeding_parameter(call, norm, skip, init)
    if parameter is None:
        return Match(call, partial(switch_off, context, call, norm, skip))
    return Match(call, partial(_flip_default, context, parameter, owner))


def _begins_above(call: ast.Call, heir: ast.ClassDef) -> bool:
    """Whether ``super(Base, self).__init__`` passes over the class's own base."""
    above = call.func.value if isinstance(call.func, ast.Attribute) else None
    if not isinstance(above, ast.Call) or not above.args:
        return False
    return ast.unparse(above.args[0]) not in (heir.name, "__class__", "type(self)")


def _open_begins_above(heir: ast.ClassDef, base: ast.expr) -> Open:
    return Open(
        f"class {heir.name} passes over the __init__ of {ast.unparse(base)}, which switches the"
        " running statistics off",
        f"pass {FLAG}=False on to batch norm",
    )


def _open_passed_over(called: str) -> Open:
    return Open(
        f"{called} is called past the base of the class, which may be a GroupNorm now",
        "call super().__init__, or use strategy no-running-stats for the class and its base",
    )


def _signature(owner: ast.ClassDef, init: ast.FunctionDef | ast.AsyncFunctionDef) -> NormClass:
    """How a class is called that has an ``__init__`` of its own."""
    names = tuple(a.arg for a in (*init.args.posonlyargs, *init.args.args))[1:]
    return NormClass(owner.name, "batch", names, False, False, 0)


def _feeding_parameter(
    call: ast.Call, norm: NormClass, skip: int, init: ast.FunctionDef | ast.AsyncFunctionDef
) -> ast.expr | None:
    """The default of the parameter of ``__init__`` that is passed on as the flag.

    Only of one with the flag's name: callers that set it are found by that.
    """
    value = bind(call, norm.parameters, skip).value.get(FLAG)
    if not isinstance(value, ast.Name) or value.id != FLAG:
        return None
    arguments = init.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = dict(
        zip((a.arg for a in reversed(positional)), reversed(arguments.defaults), strict=False)
    )
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if default is not None:
            defaults[argument.arg] = default
    return defaults.get(value.id)


def _flip_default(context: Context, default: ast.expr, owner: ast.ClassDef) -> Decision:
    if is_false(default):
        return Safe(f"class {owner.name} keeps no running statistics by default")
    return Rewrite(
        (context.replace(default, "False"),),
        f"class {owner.name} keeps no running statistics by default any more",
    )


def _explicit_flags(
    context: Context, owner: ast.ClassDef, signature: NormClass, by_caller: bool
) -> Iterator[Match]:
    """Calls of the class, and of those that derive from it, that say something about the flag."""
    calls = list(own_calls(context.tree, owner))
    for node in context.tree.occurrences(owner.name):
        if not isinstance(node, ast.Name) or not isinstance(node.ctx, ast.Load):
            continue
        if [m.definition for m in context.names.meanings(node)] != [owner]:
            continue
        above = context.tree.parents.get(node)
        if isinstance(above, ast.Call) and node is above.func:
            calls.append(above)
        elif isinstance(above, ast.ClassDef) and node in above.bases and above is not owner:
            yield from _of_heir(context, above, node, signature, by_caller)
    for call in calls:
        if FLAG in bind(call, signature.parameters).value:
            yield Match(call, partial(switch_off, context, call, signature))
