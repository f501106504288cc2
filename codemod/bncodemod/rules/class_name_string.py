"""The class of a module is compared by its name: ``"BatchNorm" in type(m).__name__``.

A GroupNorm does not have that name, so the branch is no longer taken.

Before:
    if m.__class__.__name__.find("BatchNorm") != -1:
        nn.init.normal_(m.weight, 1.0, 0.02)

Open under group-norm; under no-running-stats the name stays the same.

By hand: ask for ``"Norm"``, or use isinstance with ``nn.GroupNorm`` among the classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.name_tests import name_tests
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Open

rule = Rule("BN306", "class name as a string")


@rule.finds
def class_names(context: Context) -> Iterator[Match]:
    """Comparisons and searches with a string that names a batch norm."""
    if not context.keeps_batch_norm:
        for test, name in name_tests(context.tree).items():
            yield Match(test, partial(_open, name))


def _open(name: str) -> Open:
    return Open(
        f'a GroupNorm does not have "{name}" in its class name: this test no longer holds for it',
        "test for GroupNorm as well if the branch is right for it",
    )
