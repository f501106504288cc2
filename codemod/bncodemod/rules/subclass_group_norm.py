"""BN103 under group-norm: a class that derives from batch norm gets a GroupNorm as its base."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial

from bncodemod.catalog.torch import NormClass
from bncodemod.rules.rule import Match
from bncodemod.scan.libraries import uses_of
from bncodemod.scan.scopes import Function
from bncodemod.strategies.batch_norm_class import BatchNormClass
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Decision, Open, Rewrite
from bncodemod.strategies.functional import dropped_arguments, group_norm_edit
from bncodemod.strategies.group_norm import class_helper


def onto_group_norm(
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


def on_group_norms_elsewhere(context: Context) -> Iterator[Match]:
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
