"""``convert_sync_batchnorm`` makes SyncBatchNorm of the batch norms that are left.

Measured on torch: the conversion takes ``track_running_stats`` over, so that a norm without running
statistics stays without. But where several processes train, SyncBatchNorm exchanges the statistics
in an autograd function, which ``torch.func.vmap`` refuses; so does that of apex.

Before:
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model)

Under group-norm it finds no batch norm in what was rewritten, and a GroupNorm needs no
synchronising: the call is safe.

By hand: convert no model that runs under vmap; each process may use the statistics of its own
batch.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial

from bncodemod.rules.rule import Match, Rule
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Decision, Open, Safe

rule = Rule("BN311", "SyncBatchNorm conversion")

# The functions, and the packages they come from.
_CONVERSIONS = {
    "convert_sync_batchnorm": ("torch.nn.", "mmengine."),
    "convert_syncbn_model": ("apex.",),
}


@rule.finds
def conversions(context: Context) -> Iterator[Match]:
    """Every call of a conversion."""
    for name, packages in _CONVERSIONS.items():
        for node in context.tree.occurrences(name):
            call = context.tree.parents.get(node)
            if isinstance(call, ast.Call) and node is call.func:
                if context.names.qualified(node).startswith(packages):
                    yield Match(call, partial(_decide, context))


def _decide(context: Context) -> Decision:
    if not context.keeps_batch_norm:
        return Safe("a GroupNorm is not converted, and needs no synchronising")
    return Open(
        "a norm without running statistics stays without when it is converted, but where several"
        " processes train, vmap refuses the exchange inside SyncBatchNorm",
        "convert no model that runs under vmap",
    )
