"""``BatchNorm2d(C, G, track_running_stats=False)``: the number of groups has landed in eps.

PyTorch's page "Patching Batch Norm" shows this as the way to a GroupNorm. It is a batch norm whose
eps is the number of groups.

Before:
    nn.BatchNorm2d(64, 16, track_running_stats=False)
After (group-norm):
    nn.GroupNorm(16, 64)

Under no-running-stats the site is open, since only its author knows which of the two was meant.

By hand: ``nn.GroupNorm(16, 64)``, or ``nn.BatchNorm2d(64, track_running_stats=False)``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import partial

import libcst as cst

from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.mentions import Role
from bncodemod.source.splice import Edit
from bncodemod.strategies import call_edit
from bncodemod.strategies.arguments import bind, flag_is_off, integer
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Decision, Open, Rewrite
from bncodemod.strategies.group_norm import group_norm_callee, spell_callee

rule = Rule("BN402", "groups in the place of eps", priority=1)

_GROUPS = re.compile(r"^(?:g|G|(?:num_|n_|n)?groups?\w*|\w*_groups?)$")


@rule.finds
def page_forms(context: Context) -> Iterator[Match]:
    """Calls with the flag off and a second positional argument that counts groups."""
    for mention in context.mentions:
        call = context.tree.parent(mention.node)
        if mention.role is not Role.CALL or not isinstance(call, ast.Call):
            continue
        if mention.norm.family != "batch":
            continue
        bound = bind(call, mention.norm.parameters)
        if flag_is_off(bound) and {"num_features", "eps"} <= bound.positional:
            groups = bound.value["eps"]
            same = ast.dump(groups) == ast.dump(bound.value["num_features"])
            if same or (integer(groups) or 0) >= 2 or _GROUPS.match(ast.unparse(groups)):
                plain = len(bound.positional) == 2 and not bound.opaque
                yield Match(call, partial(_decide, context, call, same, plain))


def _decide(context: Context, call: ast.Call, same: bool, plain: bool) -> Decision:
    channels, groups = (ast.unparse(argument) for argument in call.args[:2])
    if same and not context.keeps_batch_norm:
        return Open(
            f"eps={groups}: one group a channel was meant, and such a GroupNorm returns nothing but"
            " its bias on (N, C) inputs",
            "write a GroupNorm with more than one channel a group",
        )
    if context.keeps_batch_norm or not plain:
        return Open(
            f"eps={groups}: the number of groups stands where batch norm takes eps",
            f"write nn.GroupNorm({groups}, {channels}), or leave {groups} out",
        )
    known = integer(call.args[0]), integer(call.args[1])
    if known[0] is not None and known[1] is not None and known[0] % known[1]:
        return Open(
            f"{groups} groups do not divide {channels} channels",
            "choose a number of groups that does",
        )
    written = group_norm_callee(context, call.func)
    start, end = context.tree.span(call)
    newline = context.newline(call)
    keep = [k.arg for k in call.keywords if k.arg not in ("track_running_stats", "momentum")]

    def change(node: cst.Call) -> cst.Call:
        first, second, *rest = node.args
        swapped = [
            first.with_changes(value=second.value),
            second.with_changes(value=first.value),
            *rest,
        ]
        node = node.with_changes(args=swapped, func=spell_callee(written, node))
        for index in range(len(swapped) - 1, 1, -1):
            keyword = swapped[index].keyword
            if keyword is None or keyword.value not in keep:
                node = call_edit.drop(node, index)
        return node

    edit = Edit(start, end, lambda text: call_edit.edit_call(text, newline, change))
    return Rewrite((edit,), f"the GroupNorm of {groups} groups that was meant")
