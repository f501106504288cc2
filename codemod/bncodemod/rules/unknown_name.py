"""torch.nn is asked for a batch norm that it does not have.

Before:
    norm = nn.SyncBatchNorm2d(64)

The line raises an AttributeError when it runs. It is reported so that it is not mistaken for a
layer that was rewritten.

By hand: write the name that was meant, ``nn.SyncBatchNorm`` or ``nn.BatchNorm2d``.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator
from functools import partial

from bncodemod.catalog.torch import NORM_CLASSES, norm_class
from bncodemod.rules.rule import Match, Rule
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Open

rule = Rule("BN202", "unknown name")


@rule.finds
def unknown_names(context: Context) -> Iterator[Match]:
    """Attributes of torch.nn, and imports from it, that look like batch norm and are none."""
    tree = context.tree
    for name in tree.words_with("BatchNorm"):
        for node in tree.occurrences(name):
            if isinstance(node, ast.Attribute):
                qualified = context.names.qualified(node)
            elif isinstance(node, ast.alias) and isinstance(tree.parent(node), ast.ImportFrom):
                qualified = f"{tree.parent(node).module}.{node.name}"  # type: ignore[attr-defined]
            else:
                continue
            package, _, last = qualified.rpartition(".")
            if package == "torch.nn" and last == name and norm_class(qualified) is None:
                yield Match(node, partial(_open, last))


def _open(name: str) -> Open:
    close = sorted(difflib.get_close_matches(name, NORM_CLASSES, n=3))
    meant = f"; was {' or '.join(f'nn.{c}' for c in close)} meant?" if close else ""
    return Open(f"torch.nn has no {name}: the line fails when it runs", f"correct the name{meant}")
