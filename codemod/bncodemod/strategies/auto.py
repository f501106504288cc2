"""``auto``: at each place the least invasive way that works, with the reason for it.

What is used in a way that vmap takes as it is stays; the source's own norms lose their running
statistics; a builder gets a norm_layer if it takes one and no weights are loaded; other models are
patched, and keep their statistics if these may be loaded ones.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace

from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import BuiltModel, Decision, Open, Rewrite, Safe
from bncodemod.strategies.model_use import safe_use
from bncodemod.strategies.no_running_stats import NoRunningStats
from bncodemod.strategies.patching import loads_later, patch, patched_already, places

_OWN = "auto: the project's own source builds it"
_BUILDER = "auto: an argument says which norms it builds, and no weights are loaded"
_KEPT = "auto: weights may be loaded, and eval mode needs their statistics"
_REPLACED = "auto: no argument reaches its norms, and no weights are loaded that eval mode needs"


class Auto(NoRunningStats):
    """Chooses a way at each place."""

    name = "auto"

    def settled(
        self, context: Context, node: ast.AST, decision: Decision, undo: Callable[[], None]
    ) -> Decision:
        """Leave what is safe; else patch, or rewrite as no-running-stats does."""
        if isinstance(decision, Safe):
            return decision
        if decision.model is not None:
            return self._of_library(context, decision.model, decision, undo)
        if not isinstance(decision, Rewrite):
            return decision
        reason = safe_use(context, node)
        return Safe(f"auto: {reason}") if reason else _because(decision, _OWN)

    def _of_library(
        self,
        context: Context,
        model: BuiltModel,
        decision: Rewrite | Open,
        undo: Callable[[], None],
    ) -> Decision:
        standing = patched_already(context, model)
        if standing is not None:
            return standing
        reasons = [safe_use(context, call) for call in model.calls]
        if all(reasons):
            context.patches.note_kept(p for call in model.calls for p in places(context, call))
            return Safe(f"auto: {reasons[0]}")
        weights = model.weights or loads_later(context, model)
        if isinstance(decision, Rewrite) and not weights:
            return _because(decision, _BUILDER)
        undo()
        kind = "keep-statistics" if weights else "replace"
        return _because(patch(context, model, decision, kind), _KEPT if weights else _REPLACED)


def _because(decision: Decision, reason: str) -> Decision:
    if isinstance(decision, Rewrite):
        return replace(decision, message=f"{decision.message}; {reason}")
    return decision
