"""``m.eps = 1e-3`` on batch norms after they were built: a GroupNorm there keeps its own eps.

Before:
    for m in net.modules():
        if type(m) is nn.BatchNorm2d:
            m.eps = 1e-3
            m.reset_running_stats()

After a rewrite to GroupNorm the test no longer matches, and the assignment is lost without an
error. Where the branch does nothing that a GroupNorm could not take, BN305 adds GroupNorm to the
test instead. Under no-running-stats it stays right.

By hand: give eps to the constructors, or test for ``nn.GroupNorm`` as well.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial

from bncodemod.rules.rule import Match, Rule
from bncodemod.rules.type_test import is_extensible
from bncodemod.scan.class_tests import class_tests
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Open

rule = Rule("BN307", "late attribute", priority=12)


@rule.finds
def late_attributes(context: Context) -> Iterator[Match]:
    """Assignments to eps of what a test has found to be a batch norm."""
    if context.keeps_batch_norm:
        return
    for test in class_tests(context.names, context.mentions):
        if is_extensible(test):
            continue
        for use in test.uses or ():
            if use.attr == "eps" and isinstance(use.ctx, ast.Store):
                yield Match(use, partial(_open, ast.unparse(use)), claims=(test.node,))


def _open(target: str) -> Open:
    return Open(
        f"{target} is set after the fact: a GroupNorm does not match the test and keeps its eps",
        "pass eps to the constructors, or test for nn.GroupNorm as well",
    )
