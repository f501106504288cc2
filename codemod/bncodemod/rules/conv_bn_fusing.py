"""A convolution is fused with the batch norm behind it, from the norm's running statistics.

Before:
    fused = torch.nn.utils.fusion.fuse_conv_bn_eval(conv, bn)

Without running statistics there is nothing to fuse: torch's functions fail on None, and a GroupNorm
cannot be folded into a convolution at all.

By hand: do not fuse a model that was rewritten, or rewrite a copy of it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import partial

from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.scopes import Function
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Open

rule = Rule("BN302", "conv-bn fusing", priority=13, at_run_time=True)

_FUSING = re.compile(r"fuse.*(?:bn|norm)|(?:bn|norm).*fuse|^fuse_modules(?:_qat)?$")


@rule.finds
def fusings(context: Context) -> Iterator[Match]:
    """Functions that fuse, and calls of torch's own."""
    tree = context.tree
    for name in filter(_FUSING.search, tree.words_with("fuse")):
        for node in tree.occurrences(name):
            if isinstance(node, Function):
                below = tuple(tree.walk_below(node))
                if any(isinstance(n, ast.Attribute) and n.attr == "running_var" for n in below):
                    yield Match(_first_read(below), partial(_open, name), claims=below)
            call = tree.parents.get(node)
            if isinstance(call, ast.Call) and node is call.func:
                if context.names.qualified(node).startswith("torch."):
                    yield Match(call, partial(_open, name))


def _first_read(nodes: tuple[ast.AST, ...]) -> ast.AST:
    return min(
        (n for n in nodes if isinstance(n, ast.Attribute) and n.attr.startswith("running_")),
        key=lambda n: (n.lineno, n.col_offset),
    )


def _open(name: str) -> Open:
    return Open(
        f"{name} folds running statistics into a convolution: after the rewrite there are none",
        "do not fuse a rewritten model",
    )
