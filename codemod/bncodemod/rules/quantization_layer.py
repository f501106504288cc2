"""A quantisation layer of torch brings a batch norm of its own.

``torch.ao.nn.intrinsic.qat.ConvBn2d`` and its kind build a batch norm with running statistics and
take no flag; ``torch.ao.nn.quantized.BatchNorm2d`` normalises with the statistics that were
collected, in an operator of its own. Neither can do without them.

Before:
    layer = torch.ao.nn.intrinsic.qat.ConvBn2d(3, 8, 3, qconfig=qconfig)

By hand: quantise a model that is not rewritten, or one with GroupNorm, which needs no fusing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.libraries import references
from bncodemod.scan.mentions import Role, role
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Open

rule = Rule("BN205", "quantisation layer", priority=9)

# The float containers of torch.ao.nn.intrinsic only hold the norm that they are given.
_PACKAGES = re.compile(
    r"torch\.(?:ao\.)?nn\.(?:intrinsic\.(?:qat|quantized)|quantized)(?:\.modules(?:\.\w+)?)?\."
)
_ROOTS = ("torch.ao.nn", "torch.nn.intrinsic", "torch.nn.quantized")
_BUILT = (Role.CALL, Role.PARTIAL, Role.BASE, Role.VALUE)
_LAYERS = re.compile(r"(?:Conv|Linear)Bn(?:ReLU)?[123]d|BNReLU[23]d|BatchNorm[23]d")


@rule.finds
def quantization_layers(context: Context) -> Iterator[Match]:
    """Every layer of these packages that is built, derived from or handed on."""
    if "quantized" not in context.tree.source.text and "qat" not in context.tree.source.text:
        return
    for node, qualified in references(context.names, _ROOTS, ()):
        package = _PACKAGES.match(qualified)
        name = qualified[package.end() :] if package else ""
        if _LAYERS.fullmatch(name) and role(context.names, node) in _BUILT:
            yield Match(node, partial(_open, name))


def _open(name: str) -> Open:
    return Open(
        f"{name} keeps running statistics of its own, and takes no flag",
        "quantise a model that is not rewritten, or one with GroupNorm",
    )
