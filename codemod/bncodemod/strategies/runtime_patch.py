"""``runtime-patch``: norms stay in the source, and models are patched where they are built.

It is option 3 of PyTorch's page "Patching Batch Norm".
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace

from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import BuiltModel, Decision, Open, Rewrite, Safe
from bncodemod.strategies.no_running_stats import NoRunningStats
from bncodemod.strategies.own_models import built_in, built_models
from bncodemod.strategies.patches import standing_patch
from bncodemod.strategies.patching import PATCHED, patch, patched_already

_PART = f"left: the model that it is part of is {PATCHED}"
_OWN = "a model of the project's own source holds it"
_UNSEEN = "runtime-patch leaves the source of norms as it is, and not all that builds this is seen"
_BY_HAND = (
    "patch the model where it is built, or rewrite with --strategy no-running-stats --third-party"
    " patch"
)


class RuntimePatch(NoRunningStats):
    """Decides as no-running-stats would, and then patches or reports what that would rewrite."""

    name = "runtime-patch"
    rewrites_source = False

    def settled(
        self, context: Context, node: ast.AST, decision: Decision, undo: Callable[[], None]
    ) -> Decision:
        """Patch the models, those of other libraries and the project's own."""
        if isinstance(decision, Safe):
            return decision
        if decision.model is not None:
            standing = patched_already(context, decision.model)
            if standing is None:
                undo()
                return patch(context, decision.model, decision, context.settings.patch)
            return standing
        if not isinstance(decision, Rewrite):
            return decision
        undo()
        return self._of_own(context, node)

    def _of_own(self, context: Context, node: ast.AST) -> Decision:
        """Patch the models of the file that hold a norm of its own."""
        model = built_models(context, node)
        if _is_patched(context, node, model):
            return Safe(_PART)
        if model is None:
            other = built_in(context, node)
            where = f" (see {other})" if other else ""
            return Open(_UNSEEN + where, _BY_HAND)
        decision = patch(context, model, Open(_OWN, _BY_HAND), context.settings.patch)
        if not isinstance(decision, Rewrite):
            return decision
        lines = ", ".join(f"line {number}" for number in sorted({c.lineno for c in model.calls}))
        where = f"left: what holds it is patched where it is built ({lines})"
        return replace(decision, message=f"{where}; {decision.message}")


def _is_patched(context: Context, node: ast.AST, model: BuiltModel | None) -> bool:
    """Whether what holds a norm is patched by the file as it is read, or by its rewrite so far."""
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
