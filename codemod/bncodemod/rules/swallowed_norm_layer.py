"""A ``norm_layer=`` goes to a torchvision builder that cannot use it.

Sixteen builders (every deeplabv3, fcn, lraspp, fasterrcnn, fcos, keypointrcnn, maskrcnn and
retinanet) swallow it by ``**kwargs``: no error and no effect, their batch norms stay. Others raise
a TypeError, because they pass one of their own (efficientnet_b5 and up, efficientnet_v2) or know
none.

Before:
    model = deeplabv3_resnet50(norm_layer=partial(nn.BatchNorm2d, track_running_stats=False))

By hand: remove the argument, build the model (and load its weights), then call
``torch.func.replace_all_batch_norm_modules_(model)``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial

from bncodemod.catalog import torchvision
from bncodemod.rules.rule import Match, Rule
from bncodemod.rules.torchvision_builder import builder_uses
from bncodemod.scan.libraries import argument
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Open
from bncodemod.strategies.model_builder import PATCH, built, may_load_weights

rule = Rule("BN404", "norm_layer without effect", priority=0)

_EFFECT = {
    "swallowed": "swallows norm_layer: no effect and no error, its batch norms stay",
    "twice": "passes a norm_layer of its own: a second one is a TypeError",
    "unknown": "takes no norm_layer: a TypeError",
}


@rule.finds
def useless_arguments(context: Context) -> Iterator[Match]:
    """Every call of such a builder with ``norm_layer=``."""
    for node, builder, skip in builder_uses(context):
        if isinstance(node, ast.Call) and builder.norm_layer in _EFFECT:
            given = argument(node, builder.parameter or "norm_layer", None, skip)
            if given is not None:
                decide = partial(_decide, context, node, builder)
                yield Match(node, decide, claims=tuple(ast.walk(given)))


def _decide(context: Context, call: ast.Call, builder: torchvision.Builder) -> Open:
    name = builder.name.rpartition(".")[2]
    message, remedy = f"{name} {_EFFECT[builder.norm_layer]}", f"remove norm_layer, {PATCH}"
    if builder.norm_layer != "swallowed":
        return Open(message, remedy)  # it raises, so that no model is built
    return built(context, call, message, weights=may_load_weights(call), remedy=remedy)
