"""``norm_layer=nn.GroupNorm``: called with the channels alone, which is a TypeError.

A ``norm_layer`` is called with one argument, the number of channels; GroupNorm needs the number of
groups before it.

Before:
    model = resnet18(norm_layer=nn.GroupNorm)
After (group-norm):
    model = resnet18(norm_layer=make_group_norm)

By hand: pass a function of the channels, ``lambda c: nn.GroupNorm(32, c)`` or, if it has to pickle,
one of module level.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial

from bncodemod.catalog.torch import NORM_CLASSES
from bncodemod.rules.rule import Match, Rule
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Decision, Open, Rewrite

rule = Rule("BN403", "GroupNorm without groups", priority=1)


@rule.finds
def bare_group_norms(context: Context) -> Iterator[Match]:
    """Every keyword argument ``norm_layer`` that is GroupNorm itself."""
    if "GroupNorm" not in context.tree.source.text:
        return
    for keyword in context.tree.occurrences("norm_layer"):
        if isinstance(keyword, ast.keyword):
            value = keyword.value
            if context.names.qualified(value) in (
                "torch.nn.GroupNorm",
                "torch.nn.modules.GroupNorm",
            ):
                yield Match(value, partial(_decide, context, value))


def _decide(context: Context, value: ast.expr) -> Decision:
    if context.keeps_batch_norm:
        return Open(
            "norm_layer is called with the channels alone: GroupNorm raises a TypeError",
            "pass a function of the channels that builds nn.GroupNorm(groups, channels)",
        )
    factory = context.strategy.factory(context, value, NORM_CLASSES["BatchNorm2d"])
    return Rewrite((context.replace(value, factory),), f"{factory} computes the groups")
