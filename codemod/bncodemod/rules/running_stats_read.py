"""``running_mean``, ``running_var`` or ``num_batches_tracked`` of a module is read.

Without running statistics they are None, and a GroupNorm has no such attribute.

Before:
    scale = bn.weight / torch.sqrt(bn.running_var + bn.eps)

Read is also what a state dict has under such a key: ``buffers["bn.running_mean"]``.

Said once for each module that a function reads them of, models that keep their statistics left out.

By hand: leave the norms that are read here out of the rewrite (``# bncodemod: ignore``), or have
the code cope with None.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial

from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.construction import derives_from_norm
from bncodemod.scan.names import Names
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Open

rule = Rule(
    "BN301", "read of running statistics", priority=14, at_run_time=True, of_lost_statistics=True
)

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


@rule.finds
def reads(context: Context) -> Iterator[Match]:
    """The first read of each module in each function; classes with buffers of their own are no
    norms."""
    found: list[ast.expr] = [
        node
        for name in _BUFFERS
        for node in context.tree.occurrences(name)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Load)
        and not _is_own(context.names, node)
        and not context.patches.keeps(node)
    ]
    found += _by_getattr(context)
    found += _by_key(context)
    first: dict[tuple[ast.AST, str], ast.expr] = {}
    others: dict[ast.expr, list[ast.AST]] = {}
    for node in sorted(found, key=lambda n: (n.lineno, n.col_offset)):
        place = context.names.scopes.scope_of(node), _owner(node)
        others.setdefault(first.setdefault(place, node), []).append(node)
    for node, claims in others.items():
        yield Match(node, partial(_open, context, node), claims=tuple(claims))


def _owner(node: ast.expr) -> str:
    """What a buffer is read of, as source."""
    if isinstance(node, ast.Call):
        return ast.unparse(node.args[0])
    assert isinstance(node, (ast.Attribute, ast.Subscript))
    return ast.unparse(node.value)


def _by_getattr(context: Context) -> list[ast.expr]:
    """``getattr(m, "running_var")``."""
    text = context.tree.source.text
    if not any(f'"{name}"' in text or f"'{name}'" in text for name in _BUFFERS):
        return []
    calls = ((node, context.tree.parents.get(node)) for node in context.tree.occurrences("getattr"))
    return [
        call
        for node, call in calls
        if isinstance(call, ast.Call)
        and node is call.func
        and len(call.args) > 1
        and isinstance(call.args[1], ast.Constant)
        and not context.patches.keeps(call.args[0])
        and call.args[1].value in _BUFFERS
    ]


def _by_key(context: Context) -> list[ast.expr]:
    """``state["bn.running_var"]``."""
    text = context.tree.source.text
    for name in _BUFFERS:
        if f'{name}"' in text or f"{name}'" in text:
            context.tree.search_text(name)
    return [
        above
        for constant in context.tree.of_type(ast.Constant)
        if isinstance(constant.value, str) and constant.value.rpartition(".")[2] in _BUFFERS
        for above in [context.tree.parents.get(constant)]
        if isinstance(above, ast.Subscript)
        and isinstance(above.ctx, ast.Load)
        and above.slice is constant
    ]


def _is_own(names: Names, node: ast.Attribute) -> bool:
    """``self.running_mean`` in a class of this file that does not simply inherit it."""
    if not (isinstance(node.value, ast.Name) and node.value.id == "self"):
        return False
    for above in names.tree.ancestors(node):
        if isinstance(above, ast.ClassDef):
            return not any(derives_from_norm(names, b) for b in above.bases) or _copes(above)
    return False


def _copes(owner: ast.ClassDef) -> bool:
    """Whether a subclass of batch norm looks at ``track_running_stats`` or None by itself."""
    return any(
        isinstance(node, ast.Attribute) and node.attr == "track_running_stats"
        for node in ast.walk(owner)
    )


def _open(context: Context, node: ast.expr) -> Open:
    what = ast.unparse(node)
    if isinstance(node, ast.Subscript):
        becomes = "is in no state dict"
    elif context.keeps_batch_norm and not context.patches_to_group_norms:
        becomes = "is None"
    else:
        becomes = "does not exist on a GroupNorm"
    return Open(
        f"{what} is read here: after the rewrite it {becomes}",
        "leave the norms that are read here out of the rewrite, or have this code cope without",
    )
