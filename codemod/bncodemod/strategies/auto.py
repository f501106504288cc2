"""``auto``: at each place the least invasive way that works, with the reason for it.

What is used in a way that vmap takes as it is stays. What can be in eval mode wherever a file runs
it under a transform is put into that. Else the source's own norms lose their running statistics,
unless the file builds all models that hold them and weights are seen to be loaded into one, or
norms may be frozen: these models keep their statistics, patched where they are built. A builder
gets a norm_layer if it takes one and no weights are loaded, and other models are patched.
Where the code freezes norms in eval mode, and it is not clear that it freezes all of them whenever
they run, other norms of the source are left and reported; models of libraries keep statistics.
Models of one builder get one treatment where weights go from one to the other: all of them keep
their statistics, and so their state dicts.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace

from bncodemod.scan.model_places import places
from bncodemod.scan.norm_freezing import Freeze
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import BuiltModel, Decision, Open, Rewrite, Safe
from bncodemod.strategies.model_loads import (
    exchanges_state,
    loaded_into_another,
    seen_load,
    takes_state,
)
from bncodemod.strategies.model_use import (
    freeze_of,
    places_of,
    runs_under_no_transform,
    safe_use,
    stays_in_file,
)
from bncodemod.strategies.no_running_stats import NoRunningStats
from bncodemod.strategies.own_models import built_models
from bncodemod.strategies.own_patching import is_out_of_reach, patch_whole, standing_part
from bncodemod.strategies.patching import is_loaded, patch, patched_already

NAME = "auto"
_OWN = "auto: the project's own source builds it"
_BUILDER = "auto: an argument says which norms it builds, and no weights are loaded"
_KEPT = "auto: weights may be loaded, and eval mode needs their statistics"
_REPLACED = "auto: no argument reaches its norms, and no weights are loaded that eval mode needs"


class Auto(NoRunningStats):
    """Chooses a way at each place."""

    name = NAME

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
        if reason:
            context.patches.note_kept(places_of(context, node))
            return Safe(f"auto: {reason}")
        if context.calls.way:
            return Safe(f"auto: {context.calls.reason}")
        freeze = freeze_of(context, node)
        kept = _kept_whole(context, node, freeze, undo)
        if kept is not None:
            return kept
        return _because(decision, _own(context)) if freeze is None else _frozen(context, freeze)

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
        left = self._left(context, model)
        if left:
            context.patches.note_kept(
                p for call in model.calls for p in places(context.names, call)
            )
            return Safe(left)
        loaded = model.weights or is_loaded(context, model)
        other = "" if loaded else _needs_statistics(context, model)
        if isinstance(decision, Rewrite) and not loaded and not other:
            return _because(decision, _BUILDER)
        undo()
        if not loaded and not other:
            return _because(patch(context, model, decision, "replace"), _REPLACED)
        said = replace(model, weights=loaded)
        return _because(patch(context, said, decision, "keep-statistics"), other or _KEPT)

    def _left(self, context: Context, model: BuiltModel) -> str:
        """Why a model of a library can stay as it is; empty if it cannot."""
        if any(takes_state(context, call) for call in model.calls):
            return ""  # its state dict has to be like that of another model, which may be patched
        reasons = [safe_use(context, call) for call in model.calls]
        if all(reasons):
            return f"auto: {reasons[0]}"
        if context.names.index.uses.evaluated or (
            context.calls.way and all(stays_in_file(context, call) for call in model.calls)
        ):
            return f"auto: {context.calls.reason}"
        other = _loaded_into_another(context, model)
        if other and all(runs_under_no_transform(context, call) for call in model.calls):
            return f"{other}, and this one runs under no transform"
        return ""


def _own(context: Context) -> str:
    reason = context.names.index.uses.unevaluated
    return f"{_OWN}, and {reason}" if reason else _OWN


def _kept_whole(
    context: Context, node: ast.AST, freeze: Freeze | None, undo: Callable[[], None]
) -> Decision | None:
    """Keep the statistics of all models that hold a norm, where they are loaded or frozen.

    None where the file does not build all of them, or neither is seen.
    """
    if is_out_of_reach(context, node):
        return None
    model = built_models(context, node)
    standing = standing_part(context, node, model)
    if standing is not None or model is None:
        return standing
    where = next(filter(None, (seen_load(context, call) for call in model.calls)), "")
    if where:
        reason = f"auto: weights are loaded ({where}), and eval mode needs their statistics"
    elif freeze is not None:
        reason = _freezes(context, freeze)
    else:
        return None
    undo()
    said = replace(model, weights=bool(where))
    return _because(patch_whole(context, said, "keep-statistics"), reason)


def _needs_statistics(context: Context, model: BuiltModel) -> str:
    """A reason to keep the statistics of a model into which no weights are seen to be loaded."""
    return (
        _loaded_into_another(context, model)
        or _kept_frozen(context, model)
        or _exchanges_state(context, model)
    )


def _exchanges_state(context: Context, model: BuiltModel) -> str:
    where = next(filter(None, (exchanges_state(context, call) for call in model.calls)), "")
    return (
        f"auto: its state is given to another model, or taken from one ({where})" if where else ""
    )


def _loaded_into_another(context: Context, model: BuiltModel) -> str:
    """A reason to keep the state dict of a model into which no weights are loaded themselves."""
    for call in model.calls:
        where = loaded_into_another(context, call)
        if where and not is_loaded(context, model):
            return f"auto: it is saved, and another model of its builder is loaded ({where})"
    return ""


def _kept_frozen(context: Context, model: BuiltModel) -> str:
    """A reason to keep the statistics of a model: the code freezes its norms, or may."""
    for call in model.calls:
        freeze = freeze_of(context, call)
        if freeze is not None:
            return _freezes(context, freeze)
    return ""


def _freezes(context: Context, freeze: Freeze) -> str:
    return f"auto: line {context.line(freeze.call)} freezes norms, which needs statistics"


def _frozen(context: Context, freeze: Freeze) -> Open:
    return Open(
        f"auto: left, for line {context.line(freeze.call)} freezes norms in eval mode"
        f" ({ast.unparse(freeze.call)}), where vmap takes them as they are: it is not clear whether"
        " this one is always frozen where it runs",
        "freeze it wherever it runs under a transform; if it is not meant to be frozen, rewrite it"
        " with --strategy no-running-stats",
    )


def _because(decision: Decision, reason: str) -> Decision:
    if isinstance(decision, Rewrite):
        return replace(decision, message=f"{decision.message}; {reason}")
    return decision
