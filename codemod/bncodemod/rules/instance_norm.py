"""An instance norm keeps running statistics, which vmap refuses as it does batch norm's.

Before:
    nn.InstanceNorm2d(64, affine=True, track_running_stats=True)
After (both strategies):
    nn.InstanceNorm2d(64, affine=True, track_running_stats=False)

An instance norm keeps none by default, and is then no site; a lazy one does.

By hand: set ``track_running_stats=False``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial

from bncodemod.catalog.torch import FLAG
from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.flow import trace
from bncodemod.scan.index import Elsewhere, ExitKind
from bncodemod.scan.mentions import Mention, Role
from bncodemod.scan.need import FLAG_NEEDS, Need
from bncodemod.strategies.arguments import bind
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Open
from bncodemod.strategies.no_running_stats import switch_off

rule = Rule("BN105", "instance norm with running stats")


def _through_variables(context: Context, mention: Mention) -> Iterator[Match]:
    """The calls of what holds the class, here or in other files, that say the flag."""
    flow = trace(context.names, mention.node)
    for call in flow.calls:
        if FLAG in bind(call, mention.norm.parameters).value:
            yield Match(call, partial(switch_off, context, call, mention.norm))
    # What other files call by the name that it has here is a site there.
    named = any(way.kind is ExitKind.VARIABLE for way in flow.exits)
    needs = {Need.FLAG_BY_KEYWORD} if named else FLAG_NEEDS
    for demand in flow.demands:
        if demand.elsewhere is not None and demand.need in needs:
            yield Match(mention.node, partial(_open_elsewhere, mention, demand.elsewhere))
            return


def _open_elsewhere(mention: Mention, use: Elsewhere) -> Open:
    return Open(
        f"{mention.norm.name} is asked for running statistics by {use.code} in {use.place}",
        f"pass {FLAG}=False there",
    )


@rule.finds
def instance_norms(context: Context) -> Iterator[Match]:
    """Calls and partials of instance norms that say something about running statistics."""
    for mention in context.mentions:
        call = context.tree.parent(mention.node)
        if mention.norm.family != "instance":
            continue
        if mention.role is Role.VALUE and not mention.norm.lazy:
            yield from _through_variables(context, mention)
        if not isinstance(call, ast.Call):
            continue
        skip = {Role.CALL: 0, Role.PARTIAL: 1}.get(mention.role)
        if skip is None:
            continue
        bound = bind(call, mention.norm.parameters, skip)
        if FLAG in bound.value or bound.opaque or mention.norm.tracks:
            strategy = context.strategy
            decide = strategy.partial if skip else strategy.constructor
            yield Match(call, partial(decide, context, call, mention.norm))
