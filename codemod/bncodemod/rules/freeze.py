"""Batch norms are frozen by ``m.eval()``: without running statistics that freezes nothing.

Before:
    for m in self.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.eval()
    self.bn1.eval()

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

from bncodemod.rules.rule import Match, Rule
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Open

rule = Rule("BN304", "freeze loop", priority=11, at_run_time=True, of_lost_statistics=True)


@rule.finds
def freezes(context: Context) -> Iterator[Match]:
    """Calls that put what is a batch norm, by a test or by its name, into eval mode."""
    for freeze in context.freezes:
        if not context.patches.keeps(freeze.call):
            claims = () if freeze.test is None else (freeze.test,)
            yield Match(freeze.call, partial(_open, ast.unparse(freeze.call)), claims=claims)


def _open(call: str) -> Open:
    return Open(
        f"{call} no longer freezes the norm: without running statistics it uses the batch's own",
        "drop the loop, or keep the statistics: set track_running_stats = False on the built"
        " modules instead of rewriting their source",
    )
