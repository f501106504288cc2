"""``runtime-patch``: the source's own norms stay, what other libraries build is patched.

It is option 3 of PyTorch's page "Patching Batch Norm".
"""

from __future__ import annotations

import ast
from collections.abc import Callable

from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Decision, Open, Rewrite, Safe
from bncodemod.strategies.no_running_stats import NoRunningStats
from bncodemod.strategies.patches import standing_patch
from bncodemod.strategies.patching import PATCHED, patch, patched_already


class RuntimePatch(NoRunningStats):
    """Decides as no-running-stats would, and then patches or reports what that would rewrite."""

    name = "runtime-patch"
    rewrites_source = False

    def settled(
        self, context: Context, node: ast.AST, decision: Decision, undo: Callable[[], None]
    ) -> Decision:
        """Patch the models of other libraries; report the project's own norms."""
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
        if isinstance(node, ast.expr) and standing_patch(context.names, context.patches, node):
            return Safe(f"the model that it is part of is {PATCHED}")
        return Open(
            "runtime-patch leaves norms of the project's own source as they are",
            "rewrite them with --strategy no-running-stats --third-party patch, or patch the model"
            " where it is built",
        )
