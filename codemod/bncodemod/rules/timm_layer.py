"""timm's layer factories are told the norm by a name: ``create_norm_layer("batchnorm2d", c)``.

Before:
    from timm.layers import create_norm_layer
    norm = create_norm_layer("batchnorm2d", 64)
After (no-running-stats):
    from timm.layers import create_norm_layer
    norm = create_norm_layer("batchnorm2d", 64, track_running_stats=False)
After (group-norm):
    from timm.layers import create_norm_layer
    norm = create_norm_layer("groupnorm", 64, num_groups=16)

``get_norm_layer`` gets a factory in the place of the name. A name that is known only at run time,
and channels that are not known under group-norm, are reported.

By hand: pass ``track_running_stats=False`` beside the name, or ``"groupnorm"`` with a
``num_groups`` that divides the channels.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial

import libcst as cst

from bncodemod.catalog.libraries import TIMM_LAYER_CREATORS, timm_layer_factories
from bncodemod.catalog.torch import FLAG, NORM_CLASSES
from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.libraries import argument, has_mapping, mentions_library, uses_of
from bncodemod.scan.literals import is_false
from bncodemod.scan.mentions import Role, role
from bncodemod.source.splice import Edit
from bncodemod.strategies import call_edit
from bncodemod.strategies.arguments import integer
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import NO_STATISTICS, Decision, Open, Rewrite
from bncodemod.strategies.groups import num_groups

rule = Rule("BN111", "timm layer", priority=8)

# What timm's maps call batch norm, underscores left out, and the class that it is.
_NAMES = {"batchnorm": "BatchNorm2d", "batchnorm2d": "BatchNorm2d", "batchnorm1d": "BatchNorm1d"}


@rule.finds
def timm_layers(context: Context) -> Iterator[Match]:
    """Calls of timm's factories whose norm is, or may be, batch norm."""
    if not mentions_library(context.names, "timm") or context.names.index.is_own("timm"):
        return
    for node, qualified in uses_of(context.names, timm_layer_factories()):
        call = context.tree.parent(node)
        if role(context.names, node) is not Role.CALL or not isinstance(call, ast.Call):
            continue
        factory = qualified.rpartition(".")[2]
        first = "layer_name" if factory in TIMM_LAYER_CREATORS else "norm_layer"
        said = argument(call, first, 0)
        if not isinstance(said, ast.Constant) or not isinstance(said.value, str):
            continue  # a class is a site of its own, a variable is said where it is bound
        name = _NAMES.get(said.value.replace("_", "").lower())
        if name is not None:
            decide = _decide_creator if factory in TIMM_LAYER_CREATORS else _decide_getter
            yield Match(call, partial(decide, context, call, said, name), claims=(said,))


def _decide_creator(context: Context, call: ast.Call, said: ast.expr, name: str) -> Decision:
    flag = argument(call, FLAG, None, 0)
    if is_false(flag):
        return NO_STATISTICS
    if has_mapping(call):
        return Open(f"** may hide {FLAG}", f"merge {FLAG}=False into the mapping")
    start, end = context.tree.span(call)
    newline = context.newline(call)
    if context.keeps_batch_norm:
        change: call_edit.Change = _switch_off
        message = "the norm that timm builds keeps no running statistics any more"
    else:
        channels = integer(argument(call, "num_features", 1, 0))
        groups = num_groups(channels, context.settings) if channels else None
        if groups is None or name != "BatchNorm2d":
            return Open(
                "which number of groups divides the channels is not known here",
                'pass "groupnorm" and a num_groups that divides the channels',
            )
        quote = context.tree.text(said)[0]
        change = partial(_to_group_norm, name=f"{quote}groupnorm{quote}", groups=str(groups))
        message = f"the norm that timm builds is a GroupNorm of {groups} groups"
    edit = Edit(start, end, lambda text: call_edit.edit_call(text, newline, change))
    return Rewrite((edit,), message)


def _switch_off(call: cst.Call) -> cst.Call:
    return call_edit.put(call, FLAG, "False")


def _to_group_norm(call: cst.Call, name: str, groups: str) -> cst.Call:
    for gone in ("momentum", FLAG):
        index = call_edit.index_of(call, gone)
        if index is not None:
            call = call_edit.drop(call, index)
    index = call_edit.index_of(call, "layer_name")
    call = call_edit.set_value(call, 0 if index is None else index, name)
    return call_edit.append(call, "num_groups", groups)


def _decide_getter(context: Context, call: ast.Call, said: ast.expr, name: str) -> Decision:
    with_activation = ast.unparse(call.func).endswith("act_layer")
    if with_activation and not context.keeps_batch_norm:
        return Open(
            "a norm-and-activation layer is asked for, which a factory of GroupNorm does not give",
            'pass "groupnorm", timm\'s own of 32 groups',
        )
    factory = context.strategy.factory(context, call, NORM_CLASSES[name])
    return Rewrite((context.replace(said, factory),), f"timm gets its norms from {factory}")
