"""A class derives from a batch norm.

The flag goes where it takes effect: into the call of ``super().__init__``, into the default of the
parameter that feeds it, or, for a class without an ``__init__``, into the calls that build it.

Before:
    class Flat(nn.BatchNorm1d):
        def __init__(self, features):
            super().__init__(features, eps=1e-3)
After (no-running-stats):
    class Flat(nn.BatchNorm1d):
        def __init__(self, features):
            super().__init__(features, eps=1e-3, track_running_stats=False)

Open under group-norm, since the class was written for batch norm, and where it registers running
buffers of its own or calls F.batch_norm with them: the flag is not enough there.

By hand: pass the flag on to batch norm, and have ``forward`` cope with buffers that are None; or
derive from ``nn.GroupNorm``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from bncodemod.catalog.torch import FLAG, NormClass
from bncodemod.rules.class_reference import references
from bncodemod.rules.functional_call import functional_norms, hands_on_by_flag
from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.mentions import Role, role
from bncodemod.scan.scopes import Function
from bncodemod.strategies.arguments import bind
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Decision, Open, Rewrite, Safe
from bncodemod.strategies.no_running_stats import switch_off

rule = Rule("BN103", "subclass")

_BUFFERS = ("running_mean", "running_var")


@rule.finds
def subclasses(context: Context) -> Iterator[Match]:
    """Every class with a batch norm among its bases."""
    for mention in context.mentions:
        owner = context.tree.parent(mention.node)
        if mention.role is Role.BASE and isinstance(owner, ast.ClassDef):
            if mention.norm.family == "batch":
                yield from _matches(context, mention.node, mention.norm, owner)
            else:
                yield from _instance_norm(context, mention.node, mention.norm, owner)


def _matches(
    context: Context, base: ast.expr, norm: NormClass, owner: ast.ClassDef
) -> Iterator[Match]:
    context.tree.expand(owner)
    obstacle = _obstacle(context, owner)
    if obstacle is not None:
        claims = tuple(call for call, _ in functional_norms(context, owner))
        yield Match(base, lambda: obstacle, claims)
        return
    init = next((s for s in owner.body if isinstance(s, Function) and s.name == "__init__"), None)
    if init is not None:
        yield from _through_init(context, base, norm, owner, init)
        return
    own = replace(norm, name=owner.name)
    uses = list(_uses(context, owner, own))
    yield from uses
    if not uses:
        yield Match(base, partial(_unseen, owner))


def _instance_norm(
    context: Context, base: ast.expr, norm: NormClass, owner: ast.ClassDef
) -> Iterator[Match]:
    """The calls of ``super().__init__`` that say something about running statistics."""
    context.tree.expand(owner)
    for call, skip in _super_calls(owner, base):
        bound = bind(call, norm.parameters, skip)
        if FLAG in bound.value or bound.opaque or norm.tracks:
            yield Match(call, partial(switch_off, context, call, norm, skip))


def _super_calls(within: ast.AST, base: ast.expr) -> list[tuple[ast.Call, int]]:
    return [
        (node, skip)
        for node in ast.walk(within)
        if isinstance(node, ast.Call)
        for skip in [_super_arguments(node, base)]
        if skip is not None
    ]


def _obstacle(context: Context, owner: ast.ClassDef) -> Open | None:
    """Why the flag would not be enough, if it would not."""
    if not context.keeps_batch_norm:
        return Open(
            f"class {owner.name} was written for batch norm",
            "derive it from nn.GroupNorm, or use strategy no-running-stats for it",
        )
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
    calls = _super_calls(init, base)
    if not calls:
        yield Match(
            base,
            lambda: Open(
                f"class {owner.name} does not call super().__init__ where it can be seen",
                f"pass {FLAG}=False on to batch norm",
            ),
        )
    for call, skip in calls:
        parameter = _feeding_parameter(call, norm, skip, init)
        if parameter is None:
            yield Match(call, partial(switch_off, context, call, norm, skip))
        else:
            yield Match(call, partial(_flip_default, context, parameter, owner))
    yield from _explicit_flags(context, owner, init)


def _super_arguments(call: ast.Call, base: ast.expr) -> int | None:
    """How many arguments of ``super().__init__(…)`` or ``Base.__init__(self, …)`` to leave out."""
    func = call.func
    if not isinstance(func, ast.Attribute) or func.attr != "__init__":
        return None
    if isinstance(func.value, ast.Call) and isinstance(func.value.func, ast.Name):
        return 0 if func.value.func.id == "super" else None
    return 1 if ast.dump(func.value) == ast.dump(base) else None


def _feeding_parameter(
    call: ast.Call, norm: NormClass, skip: int, init: ast.FunctionDef | ast.AsyncFunctionDef
) -> ast.expr | None:
    """The default of the parameter of ``__init__`` that is passed on as the flag."""
    value = bind(call, norm.parameters, skip).value.get(FLAG)
    if not isinstance(value, ast.Name):
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
    if isinstance(default, ast.Constant) and default.value is False:
        return Safe(f"class {owner.name} keeps no running statistics by default")
    return Rewrite(
        (context.replace(default, "False"),),
        f"class {owner.name} keeps no running statistics by default any more",
    )


def _explicit_flags(
    context: Context, owner: ast.ClassDef, init: ast.FunctionDef | ast.AsyncFunctionDef
) -> Iterator[Match]:
    """Calls of the class that switch its running statistics on."""
    names = tuple(a.arg for a in (*init.args.posonlyargs, *init.args.args))[1:]
    signature = NormClass(owner.name, "batch", names, False, False, 0)
    for node in context.tree.occurrences(owner.name):
        call = context.tree.parents.get(node)
        if isinstance(call, ast.Call) and node is call.func:
            meanings = context.names.meanings(node)
            if [m.definition for m in meanings] == [owner] and FLAG in bind(call, names).value:
                yield Match(call, partial(switch_off, context, call, signature))


def _unseen(owner: ast.ClassDef) -> Open:
    return Open(
        f"class {owner.name} is built in other files, which are not seen here",
        f"pass {FLAG}=False where it is built, or give it an __init__ that does",
    )
