"""A class derives from a batch norm.

The flag goes where it takes effect: into the call of ``super().__init__``, into the default of a
parameter ``track_running_stats``, or, for a class without an ``__init__``, into the calls that
build it. A parameter that feeds it by another name decides nothing any more. If something stands
between these calls and batch norm (a mixin, a metaclass, a decorator, a method that builds its own
kind), or if no call is seen, ``BatchNorm2dWithoutStats`` becomes the base, a class that is added to
the file once: torch's own, with ``track_running_stats`` False.

Before:
    class Flat(nn.BatchNorm1d):
        def __init__(self, features):
            super().__init__(features, eps=1e-3)
After (no-running-stats):
    class Flat(nn.BatchNorm1d):
        def __init__(self, features):
            super().__init__(features, eps=1e-3, track_running_stats=False)

After (group-norm):
    class Flat(GroupNormAsBatchNorm1d):
        def __init__(self, features):
            super().__init__(features, eps=1e-3)

Under group-norm the base becomes a class that is added to the file once: a GroupNorm with batch
norm's arguments, whose buffers are None and whose ``track_running_stats`` is False. A call of
F.batch_norm with the class's own buffers becomes one of F.group_norm. What ``forward`` does around
it stays as it was written for batch norm: the class still normalises along dimension 1, now over
groups of channels of each sample instead of over the batch.

Open where a class registers running buffers of its own, calls F.batch_norm with others, and, under
group-norm, where it needs what such a GroupNorm does not have: buffers that are not None,
``reset_running_stats``, a lazy number of channels.

By hand: pass the flag on to batch norm, and have ``forward`` cope with buffers that are None; or
derive from ``nn.GroupNorm``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from bncodemod.catalog.torch import FLAG, NormClass, norm_class
from bncodemod.rules.class_reference import references
from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.construction import is_plain, own_calls
from bncodemod.scan.excerpt import excerpt
from bncodemod.scan.flag import fills_up_to_flag
from bncodemod.scan.index import Exit, ExitKind
from bncodemod.scan.libraries import uses_of
from bncodemod.scan.literals import is_false
from bncodemod.scan.mentions import Role, role
from bncodemod.scan.need import Need
from bncodemod.scan.scopes import Function, own_method
from bncodemod.strategies.arguments import bind, flag_is_off
from bncodemod.strategies.batch_norm_class import BatchNormClass, super_calls
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Decision, Open, Rewrite, Safe
from bncodemod.strategies.functional import (
    dropped_arguments,
    functional_norms,
    group_norm_edit,
    hands_on_by_flag,
)
from bncodemod.strategies.group_norm import class_helper
from bncodemod.strategies.no_running_stats import switch_off
from bncodemod.strategies.stand_in import without_stats

rule = Rule("BN103", "subclass")

_BUFFERS = ("running_mean", "running_var")


@rule.finds
def subclasses(context: Context) -> Iterator[Match]:
    """Every class with a batch norm among its bases."""
    for mention in context.mentions:
        owner = context.tree.parent(mention.node)
        if mention.role is Role.BASE and isinstance(owner, ast.ClassDef):
            if mention.norm.family == "batch":
                matches = _matches if context.keeps_batch_norm else _onto_group_norm
                yield from matches(context, mention.node, mention.norm, owner)
            else:
                yield from _instance_norm(context, mention.node, mention.norm, owner)
    yield from _flags_in_other_files(context)
    if not context.keeps_batch_norm:
        yield from _on_group_norms_elsewhere(context)
    yield from _passed_over(context)


def _matches(
    context: Context, base: ast.expr, norm: NormClass, owner: ast.ClassDef
) -> Iterator[Match]:
    context.tree.expand(owner)
    derived = BatchNormClass(context, owner, base, norm)
    if _has_stand_in(context, base) and _is_in_between(context, derived):
        yield from _onto_stand_in(context, derived)
        return
    obstacle = _obstacle(context, owner)
    if obstacle is not None:
        claims = tuple(call for call, _ in functional_norms(context, owner))
        yield Match(base, lambda: obstacle, claims)
        return
    if not is_plain(context.names, owner):
        yield Match(base, partial(_in_between, owner))
        return
    init = own_method(owner, "__init__")
    if init is not None:
        yield from _through_init(context, base, norm, owner, init)
        return
    uses = list(_uses(context, owner, replace(norm, name=owner.name)))
    yield from uses
    if owner.name in context.names.index.built_elsewhere:
        yield Match(base, partial(_carried_elsewhere, owner))
    elif not uses and _has_stand_in(context, base):
        yield Match(base, partial(_on_stand_in, context, derived))
    elif not uses:
        yield Match(base, partial(_unseen, owner))


def _has_stand_in(context: Context, base: ast.expr) -> bool:
    """Whether a base is torch's own class, for which another can stand in."""
    return norm_class(context.names.qualified(base)) is not None


def _is_in_between(context: Context, derived: BatchNormClass) -> bool:
    """Whether more than the class's own ``__init__`` stands between a call and batch norm's."""
    calls = super_calls(derived.owner, derived.base)
    if calls and all(flag_is_off(bind(c, derived.norm.parameters, skip)) for c, skip in calls):
        return False  # it is the class that sees to the flag
    if derived.owner.name in context.names.index.rebased:
        return True
    return not all(is_plain(context.names, member) for member in derived.family)


def _onto_stand_in(context: Context, derived: BatchNormClass) -> Iterator[Match]:
    """The base alone changes, if that is enough for all classes that derive from it."""
    refused = False
    for member in derived.family:
        obstacle = _obstacle(context, member)
        if obstacle is not None:
            refused = True
            at = derived.base if member is derived.owner else member.bases[0]
            claims = tuple(call for call, _ in functional_norms(context, member))
            yield Match(at, partial(_as_is, obstacle), claims)
    if not refused:
        yield Match(derived.base, partial(_on_stand_in, context, derived))


def _as_is(decision: Open) -> Open:
    return decision


def _on_stand_in(context: Context, derived: BatchNormClass) -> Decision:
    name = without_stats(context, derived.base, derived.norm)
    return Rewrite(
        (context.replace(derived.base, name),),
        f"class {derived.owner.name} keeps no running statistics, however it is built",
    )


def _onto_group_norm(
    context: Context, base: ast.expr, norm: NormClass, owner: ast.ClassDef
) -> Iterator[Match]:
    """The base, the calls by its name and those of F.batch_norm: all of them change, or none."""
    derived = BatchNormClass(context, owner, base, norm)
    obstacle = next(derived.obstacles(), None)
    if obstacle is not None:
        refusal = Open(
            f"class {owner.name} {obstacle}",
            "derive it from nn.GroupNorm by hand, or use strategy no-running-stats for it",
        )
        yield Match(base, lambda: refusal, tuple(derived.functional_calls))
        return
    decided: list[Decision] = []

    def decide() -> Decision:
        decided.append(_rebased(context, base, norm, derived))
        return decided[0]

    yield Match(base, decide, tuple(derived.buffer_reads))
    if not decided:
        return  # a comment, or the selection of rules, keeps the class as it is
    for mention in derived.calls_by_name:
        yield Match(mention.node, partial(_renamed, context, mention.node, norm))
    for call in derived.functional_calls:
        yield Match(call, partial(_regrouped, context, call, derived.self_name(call)))


def _on_group_norms_elsewhere(context: Context) -> Iterator[Match]:
    """Classes that derive from one of another file, whose base becomes a GroupNorm there."""
    for qualified, norm in context.names.index.handled.items():
        if norm.family != "batch":
            continue
        for base, _ in uses_of(context.names, [qualified]):
            owner = context.tree.parent(base)
            if not isinstance(owner, ast.ClassDef) or base not in owner.bases:
                continue
            context.tree.expand(owner)
            derived = BatchNormClass(context, owner, base, norm)
            by_name = (f"calls {m.norm.name}.__init__" for m in derived.inits_by_name)
            obstacle = next(by_name, None) or next(derived.obstacles(), None)
            if obstacle is not None:
                claims = tuple(mention.node for mention in derived.inits_by_name)
                yield Match(base, partial(_refused, owner, obstacle), claims)
            for call in derived.functional_calls:
                if dropped_arguments(context, call, derived.self_name(call)) is not None:
                    decide = partial(_regrouped, context, call, derived.self_name(call))
                    yield Match(call, decide, claims=tuple(derived.buffer_reads))


def _refused(owner: ast.ClassDef, obstacle: str) -> Open:
    return Open(
        f"class {owner.name} {obstacle}, and its base becomes a GroupNorm",
        "change the class by hand, or use strategy no-running-stats for it and its base",
    )


def _rebased(
    context: Context, base: ast.expr, norm: NormClass, derived: BatchNormClass
) -> Decision:
    name = class_helper(context, base, norm)
    owner = derived.owner
    message = f"class {owner.name} normalises over groups of channels of each sample"
    if any(isinstance(s, Function) and s.name == "forward" for s in owner.body):
        message += "; its forward was written for batch norm, which normalised over the batch"
    return Rewrite((context.replace(base, name),), message)


def _renamed(context: Context, node: ast.expr, norm: NormClass) -> Decision:
    name = class_helper(context, node, norm)
    return Rewrite((context.replace(node, name),), f"{name} is the base now")


def _regrouped(context: Context, call: ast.Call, self_name: str) -> Decision:
    return Rewrite(
        (group_norm_edit(context, call, self_name),),
        f"{ast.unparse(call.func)} on the class's own buffers becomes group_norm",
    )


def _flags_in_other_files(context: Context) -> Iterator[Match]:
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


def _passed_over(context: Context) -> Iterator[Match]:
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


def _open_passed_over(called: str) -> Open:
    return Open(
        f"{called} is called past the base of the class, which may be a GroupNorm now",
        "call super().__init__, or use strategy no-running-stats for the class and its base",
    )


def _instance_norm(
    context: Context, base: ast.expr, norm: NormClass, owner: ast.ClassDef
) -> Iterator[Match]:
    """The calls of ``super().__init__`` that say something about running statistics."""
    context.tree.expand(owner)
    for call, skip in super_calls(owner, base):
        bound = bind(call, norm.parameters, skip)
        if FLAG in bound.value or bound.opaque or norm.tracks:
            yield Match(call, partial(switch_off, context, call, norm, skip))


def _obstacle(context: Context, owner: ast.ClassDef) -> Open | None:
    """Why the flag would not be enough, if it would not."""
    for node in ast.walk(owner):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "register_buffer"
            and node.args
            and isinstance(node.args[0], ast.Constant)
            and node.args[0].value in _BUFFERS
        ):
            return Open(
                f"class {owner.name} registers running statistics of its own",
                "register None instead if track_running_stats is False",
            )
    for call, function in functional_norms(context, owner):
        if not hands_on_by_flag(call, function):
            return Open(
                f"class {owner.name} calls {ast.unparse(call.func)} by itself:"
                " the flag alone does not stop the update",
                f"hand the buffers on only if self.{FLAG}, as torch's own forward does",
            )
    return None


def _uses(context: Context, owner: ast.ClassDef, norm: NormClass) -> Iterator[Match]:
    """The calls that build a class without an ``__init__``, and its uses as a value."""
    names = [owner.name]  # grows by the variables that are nothing but the class
    for name in names:
        yield from _uses_of_name(context, owner, norm, name, names)


def _uses_of_name(
    context: Context, owner: ast.ClassDef, norm: NormClass, name: str, names: list[str]
) -> Iterator[Match]:
    for node in context.tree.occurrences(name):
        if not isinstance(node, ast.Name) or not isinstance(node.ctx, ast.Load):
            continue
        if [m.definition for m in context.names.meanings(node)] != [owner]:
            continue
        above = context.tree.parent(node)
        use = role(context.names, node)
        if use is Role.CALL and isinstance(above, ast.Call):
            yield Match(above, partial(context.strategy.constructor, context, above, norm))
        elif use is Role.PARTIAL and isinstance(above, ast.Call):
            yield Match(above, partial(context.strategy.partial, context, above, norm))
        elif use is Role.BASE and isinstance(above, ast.ClassDef):
            yield from _matches(context, node, norm, above)
        elif use is Role.VALUE:
            aliases = _aliases(above)
            names += [alias for alias in aliases if alias not in names]
            if not aliases:
                yield from references(context, node, norm)


def _in_between(owner: ast.ClassDef) -> Open:
    return Open(
        f"what is mixed into class {owner.name}, or decorates it, may not hand {FLAG} on",
        f"give the class an __init__ that passes {FLAG}=False on to batch norm",
    )


def _aliases(statement: ast.AST) -> list[str]:
    """The variables of an assignment that gives a class other names."""
    if not isinstance(statement, ast.Assign):
        return []
    names = [target.id for target in statement.targets if isinstance(target, ast.Name)]
    return names if len(names) == len(statement.targets) else []


def _through_init(
    context: Context,
    base: ast.expr,
    norm: NormClass,
    owner: ast.ClassDef,
    init: ast.FunctionDef | ast.AsyncFunctionDef,
) -> Iterator[Match]:
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


def _carried_elsewhere(owner: ast.ClassDef) -> Safe:
    return Safe(f"class {owner.name} is built in other files, where the calls carry the flag")


def _unseen(owner: ast.ClassDef) -> Open:
    return Open(
        f"class {owner.name} is built in other files, which are not seen here",
        f"pass {FLAG}=False where it is built, or give it an __init__ that does",
    )
