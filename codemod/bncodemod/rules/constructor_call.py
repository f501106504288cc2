"""A batch norm is built by a call of torch's class.

In train mode it updates ``running_mean`` and ``running_var`` in place, which ``torch.func.vmap``
refuses when the input is batched and they are not.

Before:
    self.norm = nn.BatchNorm2d(64)
After (no-running-stats):
    self.norm = nn.BatchNorm2d(64, track_running_stats=False)
After (group-norm):
    self.norm = nn.GroupNorm(16, 64)

Where the number of channels is known only at run time, group-norm calls a factory that is added to
the file and computes the groups by the same rule. eps, affine, bias, device and dtype are kept;
momentum has no meaning any more and goes. A channel count or an eps hidden by ``*`` or ``**``
leaves the site open under group-norm.

Under runtime-patch the norm stays, and the models that hold it are patched where they are built: if
all of that is seen, in the file that defines their classes.

By hand: pass ``track_running_stats=False``, or write ``nn.GroupNorm(G, C)`` with C % G == 0 and
more than one channel a group.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.mentions import Mention, Role
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Decision, Rewrite

rule = Rule("BN101", "constructor call")


@rule.finds
def constructor_calls(context: Context) -> Iterator[Match]:
    """Every direct call of a batch norm class."""
    for mention in context.mentions:
        if mention.role is Role.CALL and mention.norm.family == "batch":
            call = context.tree.parent(mention.node)
            assert isinstance(call, ast.Call)
            yield Match(call, partial(decide, context, call, mention))


def decide(context: Context, call: ast.Call, mention: Mention) -> Decision:
    """The strategy's decision; an annotation that says the old class follows the value."""
    decision = context.strategy.constructor(context, call, mention.norm)
    above = context.tree.parent(call)
    if (
        isinstance(decision, Rewrite)
        and isinstance(above, ast.AnnAssign)
        and not context.keeps_batch_norm
        and context.names.norm(above.annotation)
    ):
        written = context.imports.name_for("torch.nn.GroupNorm", above.annotation)
        edits = (*decision.edits, context.replace(above.annotation, written))
        return replace(decision, edits=edits)
    return decision
