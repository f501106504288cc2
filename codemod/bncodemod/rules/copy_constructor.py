"""A module is built anew from another one: ``type(m)(m.num_features, m.eps, …)``.

Under no-running-stats such a copy follows its source, flag included, and is left alone. A GroupNorm
has other arguments and other attributes, so that the copy fails.

Before:
    new = type(m)(m.num_features, m.eps, m.momentum, m.affine, m.track_running_stats)

By hand: build ``nn.GroupNorm(m.num_groups, m.num_channels, m.eps, m.affine)`` where ``m`` is one.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from bncodemod.rules.rule import Match, Rule
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Open

rule = Rule("BN204", "copy constructor")


@rule.finds
def copy_constructors(context: Context) -> Iterator[Match]:
    """Calls of a module's own class with its ``num_features``."""
    if context.keeps_batch_norm:
        return
    for node in context.tree.occurrences("num_features"):
        if isinstance(node, ast.Attribute):
            for above in context.tree.ancestors(node):
                if isinstance(above, ast.Call) and _calls_class_of(above):
                    yield Match(above, _open)
                    break
                if isinstance(above, ast.stmt):
                    break


def _calls_class_of(call: ast.Call) -> bool:
    func = call.func
    if isinstance(func, ast.Attribute):
        return func.attr == "__class__"
    return isinstance(func, ast.Call) and isinstance(func.func, ast.Name) and func.func.id == "type"


def _open() -> Open:
    return Open(
        "the copy is built with batch norm's arguments, which a GroupNorm does not have",
        "build the GroupNorm from num_groups, num_channels, eps and affine",
    )
