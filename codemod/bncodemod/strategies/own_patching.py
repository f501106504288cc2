"""Patches of models that the project's own source builds, in the place of a rewrite of a norm."""

from __future__ import annotations

import ast
from dataclasses import replace

from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import BuiltModel, Decision, Open, Rewrite, Safe
from bncodemod.strategies.patches import standing_patch
from bncodemod.strategies.patching import PATCHED, patch, patched_already

_PART = f"left: the model that it is part of is {PATCHED}"
_OWN = "a model of the project's own source holds it"
BY_HAND = (
    "patch the model where it is built, or rewrite with --strategy no-running-stats --third-party"
    " patch"
)


def standing_part(context: Context, node: ast.AST, model: BuiltModel | None) -> Safe | None:
    """What is said of a norm if the file patches what holds it, as it is read or rewritten."""
    return Safe(_PART) if _is_patched(context, node, model) else None


def patch_whole(context: Context, model: BuiltModel, kind: str) -> Decision:
    """Patch the models that hold a norm of the source, each where it is built."""
    decision = patch(context, model, Open(_OWN, BY_HAND), kind)
    if not isinstance(decision, Rewrite):
        return decision
    lines = ", ".join(f"line {number}" for number in sorted({c.lineno for c in model.calls}))
    where = f"left: what holds it is patched where it is built ({lines})"
    return replace(decision, message=f"{where}; {decision.message}")


def is_out_of_reach(context: Context, node: ast.AST) -> bool:
    """Whether patches pass a norm by: they are of batch norms, and this is an instance norm."""
    within = set(ast.walk(node))
    return any(m.node in within and m.norm.family == "instance" for m in context.mentions)


def _is_patched(context: Context, node: ast.AST, model: BuiltModel | None) -> bool:
    if model is not None and context.patches.calls.issuperset(model.calls):
        return True
    if model is not None and patched_already(context, model):
        return True
    if not isinstance(node, ast.expr):
        return False
    standing = standing_patch(context.names, context.patches, node)
    if standing is not None:
        context.patches.note(standing.kind, (), ())
    return standing is not None
