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
from bncodemod.rules.subclass_group_norm import on_group_norms_elsewhere, onto_group_norm
from bncodemod.rules.subclass_init import flags_in_other_files, passed_over, through_init
from bncodemod.scan.construction import is_plain
from bncodemod.scan.mentions import Role, role
from bncodemod.scan.scopes import own_method
from bncodemod.strategies.arguments import bind, flag_is_off
from bncodemod.strategies.batch_norm_class import BatchNormClass, super_calls
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Decision, Open, Rewrite, Safe
from bncodemod.strategies.functional import functional_norms, hands_on_by_flag
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
                matches = _matches if context.keeps_batch_norm else onto_group_norm
                yield from matches(context, mention.node, mention.norm, owner)
            else:
                yield from _instance_norm(context, mention.node, mention.norm, owner)
    yield from flags_in_other_files(context)
    if not context.keeps_batch_norm:
        yield from on_group_norms_elsewhere(context)
    yield from passed_over(context)


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
        yield from through_init(context, base, norm, owner, init)
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


def _carried_elsewhere(owner: ast.ClassDef) -> Safe:
    return Safe(f"class {owner.name} is built in other files, where the calls carry the flag")


def _unseen(owner: ast.ClassDef) -> Open:
    return Open(
        f"class {owner.name} is built in other files, which are not seen here",
        f"pass {FLAG}=False where it is built, or give it an __init__ that does",
    )
