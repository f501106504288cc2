"""``torch.optim.swa_utils.update_bn`` recomputes running statistics, of which there are none left.

Before:
    update_bn(loader, swa_model)

The call runs and does nothing but pass over the data: it looks for norms with running statistics.

By hand: remove the call.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from bncodemod.rules.rule import Match, Rule
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Open

rule = Rule("BN303", "update_bn", at_run_time=True)


@rule.finds
def updates(context: Context) -> Iterator[Match]:
    """Every call of the function."""
    for node in context.tree.occurrences("update_bn"):
        call = context.tree.parents.get(node)
        if (
            isinstance(call, ast.Call)
            and node is call.func
            and context.names.qualified(node) == "torch.optim.swa_utils.update_bn"
        ):
            yield Match(call, _open)


def _open() -> Open:
    return Open(
        "update_bn has no running statistics to recompute after the rewrite",
        "remove the call",
    )
