"""A model is run on a batch of one while it is built, to learn its shapes.

In eval mode a batch norm without running statistics normalises with those of the batch, and raises
``Expected more than 1 value per channel`` where a map is 1x1 and the batch is one.

Before:
    def build(norm_layer=nn.BatchNorm2d):
        backbone = Backbone(norm_layer)
        channels = retrieve_out_channels(backbone, (320, 320))

Under no-running-stats, norms built in a function that calls torchvision's ``retrieve_out_channels``
stay as they are (its ssdlite reaches 1x1 maps), and other probes of that kind are reported at their
line. GroupNorm works there.

By hand: use strategy group-norm for the file, or probe with a batch of two.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.mentions import Role
from bncodemod.scan.scopes import Function
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Open

rule = Rule("BN308", "shape probe", priority=2)

_KNOWN = "retrieve_out_channels"
_TENSORS = frozenset({"zeros", "ones", "rand", "randn", "empty"})


@rule.finds
def shape_probes(context: Context) -> Iterator[Match]:
    """Norms built beside a known probe, and forward passes of one sample in eval mode."""
    if not context.keeps_batch_norm or not context.mentions:
        return
    probing = {
        _function(context, node)
        for node in context.tree.occurrences(_KNOWN)
        if isinstance(context.tree.parents.get(node), ast.Call)
    }
    for mention in context.mentions:
        is_built = mention.role in (Role.CALL, Role.PARTIAL, Role.VALUE)
        if is_built and _function(context, mention.node) in probing:
            called = mention.role is not Role.VALUE
            yield Match(context.tree.parent(mention.node) if called else mention.node, _open_norm)
    yield from _own_probes(context)


def _function(context: Context, node: ast.AST) -> ast.AST | None:
    """The function in which a node stands, among its defaults included."""
    return next((a for a in context.tree.ancestors(node) if isinstance(a, Function)), None)


def _own_probes(context: Context) -> Iterator[Match]:
    for node in context.tree.occurrences("eval"):
        scope = context.names.scopes.scope_of(node)
        if isinstance(node, ast.Attribute) and isinstance(scope, Function):
            for below in context.tree.walk_below(scope):
                if isinstance(below, ast.Call) and _is_one_sample(context, below):
                    yield Match(below, _open_probe)


def _is_one_sample(context: Context, call: ast.Call) -> bool:
    """Whether a call makes a tensor whose first dimension is the literal 1."""
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in _TENSORS or not call.args:
        return False
    first = call.args[0]
    if isinstance(first, (ast.Tuple, ast.List)) and first.elts:
        first = first.elts[0]
    elif len(call.args) < 2:
        return False
    return (
        isinstance(first, ast.Constant)
        and first.value == 1
        and context.names.qualified(call.func).startswith("torch.")
    )


def _open_norm() -> Open:
    return Open(
        f"the model is run on one image while it is built ({_KNOWN}): on 1x1 maps a batch norm"
        " without running statistics raises there",
        "use strategy group-norm for this file, or patch the built model with"
        " torch.func.replace_all_batch_norm_modules_(model)",
    )


def _open_probe() -> Open:
    return Open(
        "a model is run in eval mode on one sample: on 1x1 maps, or on (N, C) inputs, a batch norm"
        " without running statistics raises",
        "probe with a batch of two",
    )
