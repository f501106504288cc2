"""An attribute that only batch norm has is read from a norm that becomes a GroupNorm.

Before:
    self.first = nn.BatchNorm2d(c)
    self.second = nn.BatchNorm2d(self.first.num_features * 2)

GroupNorm has ``num_channels`` and neither ``num_features`` nor ``momentum`` nor
``track_running_stats``: the read raises an AttributeError. Under no-running-stats nothing changes.

By hand: read ``num_channels``, or keep the number in a variable.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial

from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.mentions import Role
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Open
from bncodemod.strategies.groups import HELPER

rule = Rule("BN309", "attribute that GroupNorm lacks", priority=16)

_ONLY_BATCH_NORM = ("num_features", "momentum", "track_running_stats", "reset_running_stats")


@rule.finds
def missing_attributes(context: Context) -> Iterator[Match]:
    """Reads through the attribute or variable that a constructor call of this file is bound to."""
    if context.keeps_batch_norm:
        return
    built = [
        context.tree.parent(mention.node)
        for mention in context.mentions
        if mention.role is Role.CALL and mention.norm.family == "batch"
    ]
    for name in ("GroupNorm", HELPER):
        for node in context.tree.occurrences(name):
            call = context.tree.parents.get(node)
            if isinstance(call, ast.Call) and node is call.func:
                built.append(call)
    holders = {holder for call in built for holder in _holders(context, call)}
    for name in _ONLY_BATCH_NORM:
        for node in context.tree.occurrences(name):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                if _name(node.value) in holders or node.value in built:
                    yield Match(node, partial(_open, node.attr))


def _holders(context: Context, call: ast.AST) -> Iterator[str]:
    statement = context.tree.parents.get(call)
    if isinstance(statement, ast.Assign):
        yield from filter(None, map(_name, statement.targets))
    elif isinstance(statement, ast.AnnAssign):
        yield _name(statement.target)


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f".{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _open(what: str) -> Open:
    return Open(
        f"{what} of a norm is read here, which a GroupNorm does not have",
        "read num_channels, or keep the number in a variable",
    )
