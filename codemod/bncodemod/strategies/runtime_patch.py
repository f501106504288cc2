"""``runtime-patch``: norms stay in the source, and models are patched where they are built.

It is option 3 of PyTorch's page "Patching Batch Norm".
"""

from __future__ import annotations

import ast
from collections.abc import Callable

from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Decision, Open, Rewrite, Safe
from bncodemod.strategies.no_running_stats import NoRunningStats
from bncodemod.strategies.own_models import built_in, built_models
from bncodemod.strategies.own_patching import (
    BY_HAND,
    is_out_of_reach,
    patch_whole,
    standing_part,
)
from bncodemod.strategies.patching import patch, patched_already

_UNSEEN = "runtime-patch leaves the source of norms as it is, and not all that builds this is seen"
_OUT_OF_REACH = "an instance norm with running statistics: patches of models are for batch norms"
_OFF_BY_HAND = "pass track_running_stats=False, or rewrite with --strategy no-running-stats"


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
        if is_out_of_reach(context, node):
            return Open(_OUT_OF_REACH, _OFF_BY_HAND)
        model = built_models(context, node)
        standing = standing_part(context, node, model)
        if standing is not None:
            return standing
        if model is None:
            other = built_in(context, node)
            where = f" (see {other})" if other else ""
            return Open(_UNSEEN + where, BY_HAND)
        return patch_whole(context, model, context.settings.patch)
