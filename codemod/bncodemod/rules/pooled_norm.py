"""A batch norm stands behind a pooling to 1x1: without running statistics it needs a batch.

Image pooling branches (ASPP, PSP, squeeze blocks) normalise a map of one pixel. In train mode a
batch of one raised there before. Without running statistics, eval mode normalises with the
statistics of the batch as well, and raises likewise: ``Expected more than 1 value per channel``.

Before:
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(64, 32, 1), nn.BatchNorm2d(32))

Said once for each ``nn.Sequential`` that holds both. A GroupNorm normalises a single sample.

By hand: use strategy group-norm for this branch, leave the norm out, or keep batches of two.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from bncodemod.catalog.torch import norm_class
from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.scopes import BindingKind
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Open

rule = Rule("BN313", "norm behind pooling", priority=17)

_POOLS = tuple(f"Adaptive{kind}Pool{dims}d" for kind in ("Avg", "Max") for dims in (1, 2, 3))
# What makes a map of more than one pixel again.
_GROWING = ("Upsample", "ConvTranspose", "Unfold", "PixelShuffle", "Unflatten")


@rule.finds
def pooled_norms(context: Context) -> Iterator[Match]:
    """Sequential modules in which a batch norm follows a pooling to one pixel."""
    if not context.keeps_batch_norm:
        return
    for name in _POOLS:
        for node in context.tree.occurrences(name):
            pool = context.tree.parents.get(node)
            if isinstance(pool, ast.Call) and node is pool.func and _is_to_one(pool):
                holder = context.tree.parents.get(pool)
                if _is_torch(context, pool) and _is_sequence(context, holder):
                    assert isinstance(holder, ast.Call)
                    if _norm_follows(context, holder, pool):
                        yield Match(holder, _open)


def _is_to_one(pool: ast.Call) -> bool:
    size = pool.args[0] if pool.args else next((k.value for k in pool.keywords), None)
    sizes = size.elts if isinstance(size, (ast.Tuple, ast.List)) else [size]
    return bool(sizes) and all(isinstance(s, ast.Constant) and s.value == 1 for s in sizes)


def _is_torch(context: Context, pool: ast.Call) -> bool:
    return context.names.qualified(pool.func).startswith("torch.nn.")


def _is_sequence(context: Context, call: ast.AST | None) -> bool:
    """``nn.Sequential(…)``, or ``super().__init__(…)`` in a class that derives from it."""
    if not isinstance(call, ast.Call):
        return False
    if context.names.qualified(call.func) == "torch.nn.Sequential":
        return True
    if not (isinstance(call.func, ast.Attribute) and call.func.attr == "__init__"):
        return False
    owner = next((a for a in context.tree.ancestors(call) if isinstance(a, ast.ClassDef)), None)
    return owner is not None and any(
        context.names.qualified(base) == "torch.nn.Sequential" for base in owner.bases
    )


def _norm_follows(context: Context, holder: ast.Call, pool: ast.Call) -> bool:
    if pool not in holder.args:
        return False
    for layer in holder.args[holder.args.index(pool) + 1 :]:
        if isinstance(layer, ast.Call):
            if ast.unparse(layer.func).rpartition(".")[2].startswith(_GROWING):
                return False
            if _is_batch_norm(context, layer.func):
                return True
    return False


def _is_batch_norm(context: Context, func: ast.expr) -> bool:
    """Whether a batch norm is called, or a parameter whose default is one."""
    if any(norm.family == "batch" for norm in context.names.norms(func)):
        return True
    bindings = context.names.scopes.reaching(func) if isinstance(func, ast.Name) else None
    return any(
        b.kind is BindingKind.PARAMETER and b.value is not None and _makes_norm(context, b.value)
        for b in bindings or []
    )


def _makes_norm(context: Context, value: ast.AST) -> bool:
    """Whether a default is a batch norm, or a partial of one."""
    if isinstance(value, ast.Call) and value.args:
        if context.names.qualified(value.func) == "functools.partial":
            value = value.args[0]
    found = (norm_class(meaning.qualified) for meaning in context.names.meanings(value))
    return any(norm is not None and norm.family == "batch" for norm in found)


def _open() -> Open:
    return Open(
        "a batch norm normalises maps of one pixel here: without running statistics, a batch of one"
        " raises in eval mode as well",
        "use strategy group-norm for this branch, leave the norm out, or keep batches of two",
    )
