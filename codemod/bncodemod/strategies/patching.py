"""A model that another library builds is patched where it is built.

It is option 3 of PyTorch's page "Patching Batch Norm": what ``runtime-patch`` does, and the other
strategies where the setting ``third_party`` says so.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable

from bncodemod.catalog import torchvision
from bncodemod.scan.model_places import METHODS, Place, kept_in, places, whole
from bncodemod.scan.scopes import Function
from bncodemod.strategies.context import Context
from bncodemod.strategies.copies import copies_in
from bncodemod.strategies.decision import BuiltModel, Decision, Open, Rewrite, Safe
from bncodemod.strategies.model_builder import PATCH
from bncodemod.strategies.model_loads import (
    loaded_beyond,
    loaded_into_another,
    may_be_saved,
    shown_to_load,
    unlinked_load,
)
from bncodemod.strategies.model_scope import Scope
from bncodemod.strategies.own_models import given_models
from bncodemod.strategies.patch_plan import Plan, loads_in
from bncodemod.strategies.patches import KEEPING, TORCH, Patch, standing_patch

PATCHED = "patched at run time"
_KEEP_KEYS = f"pass --patch keep-statistics, which leaves the state dict as it is, or {PATCH}"
_WHAT = {
    "replace": f"{TORCH} makes the model run without running statistics",
    "keep-statistics": "the model's batch norms keep their statistics and no longer update them",
    "group-norm": "GroupNorms take the place of the batch norms of torch and timm in the model",
}
# What a reader of the finding has to know: weights may be loaded where that is not seen.
_HINTS = {
    "replace": "; eval mode no longer uses running statistics, loaded or trained, but those of the"
    " batch (--patch keep-statistics keeps them)",
    "group-norm": "; if it loads weights, what they were trained to is lost; other classes with a"
    " forward of their own stay batch norms, without statistics, and a warning names them at run"
    " time",
}
_WITHOUT_WEIGHTS = {
    "keep-statistics": "; no weights are loaded: eval mode will use the initial statistics"
    " (--patch replace makes it use the batch's)",
}
_LOADED_BEHIND = (
    "; a checkpoint without num_batches_tracked (older than torch 0.4.1, or converted)"
    " does not load strictly behind the patch, at {where}"
)
_SAVED = "; what is saved from it lacks their keys and no longer loads into a model not patched yet"
_RELOAD = (
    "pass --patch keep-statistics, which leaves the state dict as it is, or patch before weights"
    " are loaded and take older checkpoints across with bncodemod migrate-checkpoint"
)
_MUST_BE_MODULE = "; what is built must be a module"
_NO_MODEL = re.compile(r"token|util|process|config|transform|dataset", re.IGNORECASE)
_MODULE_NAMES = ("model", "net", "network", "backbone", "encoder", "extractor")


def settled(context: Context, decision: Decision, undo: Callable[[], None]) -> Decision:
    """What the settings make of a rule's decision; ``undo`` takes back what it has asked for."""
    if isinstance(decision, Safe) or decision.model is None:
        return decision
    standing = patched_already(context, decision.model)
    if standing is not None:
        return standing
    if context.settings.patches and isinstance(decision, Open):
        undo()
        return patch(context, decision.model, decision, context.settings.patch)
    return decision


def patched_already(context: Context, model: BuiltModel) -> Safe | None:
    """What is said of models that the file patches itself."""
    found = [standing_patch(context.names, context.patches, call) for call in model.calls]
    patches = [standing for standing in found if standing is not None]
    if len(patches) < len(found):
        return None
    for call, standing in zip(model.calls, patches, strict=True):
        before = _undisturbed(context, call, _loads_before(context, call, standing))
        context.patches.note(standing.kind, (call,), before)
        if standing.kind in KEEPING:
            context.patches.note_kept(places(context.names, call))
    return Safe(PATCHED)


def loads_later(context: Context, model: BuiltModel) -> bool:
    """Whether weights are loaded into a model in the scope that builds it."""
    kept = (place for call in model.calls for place in places(context.names, call))
    return any(Scope(context.names, place).loads for place in kept)


def is_loaded(context: Context, model: BuiltModel) -> bool:
    """Whether weights are loaded into a model, or may be: a load shows not what it loads into."""
    return (
        loads_later(context, model)
        or any(shown_to_load(context, call) for call in model.calls)
        or any(loaded_beyond(context, call) for call in model.calls)
        or bool(unlinked_load(context))
    )


def patch(context: Context, model: BuiltModel, said: Rewrite | Open, kind: str) -> Decision:
    """Patch the models of a site, each where it is built."""
    if not model.is_module and not all(_is_module(context, call) for call in model.calls):
        return _left(said, "whether it gives a module is not known")
    if context.patches.calls.issuperset(model.calls):
        return Safe(f"{PATCHED} where it is called")
    plans = _plans(context, model, kind)
    beyond = "" if kind in KEEPING else _loaded_beyond(context, plans)
    if beyond:
        holding = _holding(context, model)
        if holding is not None and (
            context.patches.calls.issuperset(holding.calls) or patched_already(context, holding)
        ):
            return Safe(f"what holds it is {PATCHED}")
        plans = _plans(context, holding, kind) if holding is not None else []
        if not plans or _loaded_beyond(context, plans):
            why = f"weights are loaded into it later ({beyond}), strictly"
            return _left(said, why, _KEEP_KEYS)
    why = _without_place(context, model, plans, kind)
    if why:
        for plan in plans:
            loads = (*plan.loads, *plan.others)
            context.patches.loads.update(_undisturbed(context, plan.call, loads))
        return _left(said, why, _KEEP_KEYS)
    return _carried_out(context, model, plans, kind)


def _plans(context: Context, model: BuiltModel, kind: str) -> list[Plan]:
    """How the models of a site are patched that the site of another has not had patched yet."""
    left = (call for call in model.calls if call not in context.patches.calls)
    return [Plan(context, call, kind) for call in left]


def _carried_out(context: Context, model: BuiltModel, plans: list[Plan], kind: str) -> Rewrite:
    edits = tuple(plan.edit() for plan in plans)
    loads = tuple(load for plan in plans for load in plan.checkpoints)
    fitting = tuple(load for p in plans for load in _undisturbed(context, p.call, p.loads))
    context.patches.note(kind, (*model.calls, *(plan.call for plan in plans)), fitting)
    if kind in KEEPING:
        context.patches.note_kept(p for call in model.calls for p in places(context.names, call))
    message = _WHAT[kind] + _HINTS.get(kind, "")
    if not (model.weights or loads or is_loaded(context, model)):
        message += _WITHOUT_WEIGHTS.get(kind, "")
    behind = next(filter(None, (p.loaded_behind() for p in plans)), "") if kind in KEEPING else ""
    if behind:
        message += _LOADED_BEHIND.format(where=behind)
    if not model.is_module and any(_is_returned_model(context, call) for call in model.calls):
        message += _MUST_BE_MODULE
    remedy = ""
    if kind not in KEEPING and any(_goes_around(context, call, loads) for call in model.calls):
        message, remedy = message + _SAVED, _RELOAD
    return Rewrite(edits, message, remedy, is_patch=True)


def _undisturbed(
    context: Context, call: ast.Call, loads: tuple[ast.expr, ...]
) -> tuple[ast.expr, ...]:
    """The loads into a model which has all its statistics then: no norm of its own is rewritten."""
    if not context.strategy.rewrites_source:
        return loads
    if any(meaning.definition is not None for meaning in context.names.meanings(call.func)):
        return ()
    place = kept_in(context.names, whole(context.names, call))
    return tuple(load for load in loads if place is None or not _is_into_holder(load, place))


def _is_into_holder(load: ast.expr, place: Place) -> bool:
    """Whether weights are loaded into what holds the model that is kept in a place."""
    function = load.func if isinstance(load, ast.Call) else load
    owner = function.value if isinstance(function, ast.Attribute) else None
    return owner is not None and place.target.startswith(f"{ast.unparse(owner)}.")


def _goes_around(context: Context, call: ast.Call, loads: tuple[ast.Call, ...]) -> bool:
    """Whether what is saved from a model is loaded again, into it or into another of its kind."""
    if loads:
        return may_be_saved(context, call)
    return bool(loaded_into_another(context, call))


def _loaded_beyond(context: Context, plans: list[Plan]) -> str:
    """Where weights are loaded, strictly, into a model that is patched before; empty if nowhere."""
    found = (loaded_beyond(context, plan.call, plan.seen) for plan in plans)
    return next((load.where for load in found if load is not None and load.is_strict), "")


def _holding(context: Context, model: BuiltModel) -> BuiltModel | None:
    """What holds a model and may be patched in its place; None where not all of that is seen."""
    if not context.names.index.uses.is_known:
        return None  # another file may build it
    found = [given_models(context, call) for call in model.calls]
    calls = tuple(call for holding in found if holding is not None for call in holding.calls)
    return None if None in found else BuiltModel(tuple(dict.fromkeys(calls)), model.weights)


def _without_place(context: Context, model: BuiltModel, plans: list[Plan], kind: str) -> str:
    """Why no place is right for the patches of a site; empty if each has one."""
    problem = next((plan.problem for plan in plans if plan.problem), "")
    if problem:
        return problem
    copied = "" if kind in KEEPING else _copied_before(context, model, plans)
    return f"a copy of it is made before its weights are loaded ({copied})" if copied else ""


def _copied_before(context: Context, model: BuiltModel, plans: list[Plan]) -> str:
    """Where a copy is made of a model that is patched later: the copy keeps its statistics."""
    patched = {plan.call: plan.line for plan in plans}
    for call in model.calls:
        if call in context.patches.calls:
            continue
        for place in places(context.names, call):
            for copy in copies_in(context, Scope(context.names, place)):
                if call not in patched or copy.lineno <= patched[call]:
                    return f"line {copy.lineno}"
    return ""


def _left(said: Rewrite | Open, why: str, remedy: str = "") -> Open:
    if isinstance(said, Open):
        return Open(f"{said.message}; {why}", remedy or said.remedy)
    return Open(f"the model is not patched here: {why}", remedy or PATCH)


def _loads_before(context: Context, call: ast.Call, standing: Patch) -> tuple[ast.Call, ...]:
    """The loads into a patched model that the patch does not disturb."""
    place = kept_in(context.names, whole(context.names, call))
    if place is None:
        return ()
    loads = loads_in(context, call, Scope(context.names, place))
    line: int = standing.node.lineno  # type: ignore[attr-defined]
    return tuple(load for load in loads if standing.kind in KEEPING or load.lineno < line)


def _is_module(context: Context, call: ast.Call) -> bool:
    """Whether what a call gives is evidently a module, by its name or by what is done with it."""
    expression = whole(context.names, call)
    place = kept_in(context.names, expression)
    if expression is not call:
        return True
    said = [getattr(a, "value", None) for a in (*call.args, *(k.value for k in call.keywords))]
    if any(isinstance(text, str) and torchvision.lookup_registered(text) for text in said):
        return True
    if place is None:
        return _is_returned_model(context, call)
    last = place.target.rpartition(".")[2].lower()
    if last.endswith(_MODULE_NAMES):
        return True
    return any(
        isinstance(above, ast.Attribute) and above.attr in METHODS
        for node in context.tree.occurrences(place.target.rpartition(".")[2])
        if isinstance(node, ast.expr) and ast.unparse(node) == place.target
        for above in [context.tree.parents.get(node)]
    )


def _is_returned_model(context: Context, call: ast.Call) -> bool:
    """Whether a function returns what a call gives, and no name speaks of anything but a model."""
    owner = context.names.scopes.scope_of(call)
    said = [owner.name] if isinstance(owner, Function) else []
    given = (*call.args, *(keyword.value for keyword in call.keywords))
    said += [a.value for a in given if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    is_returned = isinstance(context.tree.parents.get(call), ast.Return)
    return is_returned and not any(map(_NO_MODEL.search, said))
