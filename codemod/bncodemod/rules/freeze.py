"""Batch norms are frozen by ``m.eval()``: without running statistics that freezes nothing.

Before:
    for m in self.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.eval()

In eval mode a batch norm without running statistics goes on normalising with those of the batch,
and a GroupNorm is the same in both modes. What was fixed during fine-tuning then depends on the
batch.

By hand: keep the running statistics of a pretrained model and switch the update off on the built
modules instead (``m.track_running_stats = False`` keeps the buffers), or drop the loop.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial

from bncodemod.rules.class_name_string import name_tests
from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.class_tests import class_tests, is_negative
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Open

rule = Rule("BN304", "freeze loop", priority=11, at_run_time=True)


@rule.finds
def freeze_loops(context: Context) -> Iterator[Match]:
    """Branches that put what a test has found to be a batch norm into eval mode."""
    for test in class_tests(context.names, context.mentions):
        for use in test.uses or ():
            call = context.tree.parents.get(use)
            if (
                use.attr == "eval"
                and isinstance(call, ast.Call)
                and not context.patches.keeps(call)
            ):
                yield Match(call, partial(_open, ast.unparse(call)), claims=(test.node,))
    for test_by_name, call in _by_class_name(context):
        if context.patches.keeps(call):
            continue
        yield Match(call, partial(_open, ast.unparse(call)), claims=(test_by_name,))


def _by_class_name(context: Context) -> Iterator[tuple[ast.AST, ast.Call]]:
    """Calls of ``eval`` in a branch that a class name leads to."""
    for test in name_tests(context):
        above = context.tree.parents.get(test)
        child: ast.AST = test
        while isinstance(above, (ast.Compare, ast.BoolOp)):
            child, above = above, context.tree.parents.get(above)
        if not isinstance(above, ast.If) or child is not above.test or is_negative(child):
            continue
        for node in context.tree.walk_block(above):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "eval"
                and not node.args
            ):
                yield test, node


def _open(call: str) -> Open:
    return Open(
        f"{call} no longer freezes the norm: without running statistics it uses the batch's own",
        "drop the loop, or keep the statistics: set track_running_stats = False on the built"
        " modules instead of rewriting their source",
    )
