"""``model.load_state_dict(…)`` is strict: a checkpoint from before the rewrite does not fit.

Before:
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64))
    model.load_state_dict(torch.load("best.pt"))

Without running statistics, three keys a layer (``running_mean``, ``running_var`` and
``num_batches_tracked``) are unexpected, and a strict load raises. Into a GroupNorm, weight and bias
load as well, without an error and with another meaning.

Said for every such call of a file that builds norms which are rewritten, and where the state dict
of a model is written to by hand; of a file that builds none, where what it loads into may come from
a file of its project that does. Loads that another library does count as well: Lightning's
``ckpt_path`` and ``load_from_checkpoint``, Accelerate's ``load_state``, safetensors' and timm's
functions. Optimizers, schedulers and
scalers have no norms, and a state dict that the same file takes from another module fits: they are
left alone.

By hand: under no-running-stats, load with ``strict=False`` and see that nothing but running
statistics is unexpected; under group-norm, train anew, or keep batch norm and patch the loaded
model with ``torch.func.replace_all_batch_norm_modules_(model)``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial

from bncodemod.catalog import norm_arguments
from bncodemod.catalog.libraries import holds_models
from bncodemod.rules.rule import Match, Rule
from bncodemod.rules.timm_model import built_model
from bncodemod.rules.torchvision_builder import builder_uses
from bncodemod.scan.construction import GROUP_NORM_AS
from bncodemod.scan.libraries import argument, references
from bncodemod.scan.mentions import Role
from bncodemod.scan.model_sources import maker
from bncodemod.scan.scopes import Function
from bncodemod.scan.weights import (
    gives_option,
    is_strict,
    may_be_of_module,
    takes_own_state,
)
from bncodemod.source.dotted_names import dotted
from bncodemod.strategies import auto
from bncodemod.strategies.arguments import integer
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Open
from bncodemod.strategies.groups import HELPER, num_groups
from bncodemod.strategies.patches import KEEPING

rule = Rule("BN310", "strict load", priority=17, at_run_time=True)

_METHOD = "load_state_dict"
_BY_LIBRARY = (
    "take the checkpoint across with bncodemod migrate-checkpoint, or have it loaded with"
    " strict=False (Lightning: strict_loading = False in the module) and see that nothing else is"
    " unexpected"
)
_NOT_STRICT = (
    "pass strict=False and see that nothing else is unexpected, or load into the model as it was"
    " and call torch.func.replace_all_batch_norm_modules_(model)"
)
_KEEP = (
    "keep the statistics: leave the norms of this model in their source (# bncodemod: ignore), and"
    " set track_running_stats = False on them once it is built; or pass strict=False and see that"
    " nothing else is unexpected"
)
_BUILT = (Role.CALL, Role.PARTIAL, Role.VALUE, Role.BASE)


@rule.finds
def strict_loads(context: Context) -> Iterator[Match]:
    """Every strict load in a file that builds norms which are rewritten."""
    calls = [call for call in _strict(context) if not _is_undisturbed(context, call)]
    # Not whether this run rewrites one: a second run has to say the same.
    is_own = bool(calls) and _loses_statistics(context)
    for call in calls:
        where = "" if is_own else _built_elsewhere(context, call)
        if is_own:
            yield Match(call, partial(_open, context, call))
        elif where:
            yield Match(call, partial(_open, context, call, where))


def makers_of_loads(context: Context) -> frozenset[str]:
    """The names that lead to the models of the strict loads; empty is one that is not known."""
    return frozenset(maker for call in _strict(context) for maker in _makers(context, call))


def _strict(context: Context) -> list[ast.expr]:
    calls: list[ast.expr] = [
        call for call in _loads(context) if is_strict(call) and _takes_checkpoint(context, call)
    ]
    calls += [
        load.node
        for load in context.loads
        if (load.is_by_hand or load.is_by_library)
        and load.is_strict
        and not _only_hands_on(context, load.node)
    ]
    return calls


def _loses_statistics(context: Context) -> bool:
    """Whether norms of the file itself lose their statistics, or have lost them."""
    if _rewrites_norms(context):
        return not context.keeps_all_statistics
    # Under auto, models that weights are loaded into keep their statistics.
    return context.patches.drop_statistics and context.settings.strategy != auto.NAME


def _rewrites_norms(context: Context) -> bool:
    """Whether norms of the file lose their statistics in the source, where they are built."""
    return context.strategy.rewrites_source and builds_norms(context)


def _built_elsewhere(context: Context, call: ast.expr) -> str:
    """Which other file builds the norms of the model that a load goes into; empty if none may."""
    source = context.names.index.norm_source
    makers = sorted(_makers(context, call), reverse=True)  # what is not known comes last
    return next(filter(None, map(source.of, makers)), "")


def _makers(context: Context, call: ast.expr) -> set[str]:
    """The dotted names by which a load gets its models; an empty one if they are not known."""
    load = next((load for load in context.loads if load.node is call), None)
    if load is None or not load.is_linked:
        return {""}
    others = load.makers - {maker(built) for built in load.calls}
    called = {
        dotted(call.func)
        for call in load.calls
        if not _is_of_library(context, call) and not gives_option(context.names, call)
    }
    held = {""} if load.holds_unknown else set()
    return called | held | {name.partition("(")[0] for name in others}


def _is_of_library(context: Context, call: ast.Call) -> bool:
    qualified = context.names.qualified(call.func)
    return holds_models(qualified) and not context.names.index.is_own(qualified)


def _is_undisturbed(context: Context, call: ast.expr) -> bool:
    """Whether a load, or every call of the function it is in, goes into a model not patched yet."""
    loads = context.patches.loads
    if _goes_into_kept(context, call):
        return True
    if call in context.patches.calls:
        return True  # it builds the model that it loads into, which is patched then
    if call in loads or not loads:
        return call in loads and _are_patched(context, call)
    function = next((a for a in context.tree.ancestors(call) if isinstance(a, Function)), None)
    if not isinstance(function, Function):
        return False
    uses = context.tree.occurrences(function.name)
    callers = [context.tree.parents.get(use) for use in uses if use is not function]
    return bool(callers) and loads.issuperset(caller for caller in callers if caller)


def _goes_into_kept(context: Context, call: ast.expr) -> bool:
    """Whether all models that a load goes into are a library's, and keep their state dicts."""
    load = next((load for load in context.loads if load.node is call), None)
    if load is None or not load.is_linked or not load.calls:
        return False
    standing = {n for n, patch in context.patches.standing.items() if patch.kind in KEEPING}
    built = {call.args[0] if call in standing else call for call in load.calls}
    of_library = all(isinstance(b, ast.Call) and _is_of_library(context, b) for b in built)
    return of_library and context.patches.keeping.issuperset(built)


def _are_patched(context: Context, call: ast.expr) -> bool:
    """Whether all models that a load may go into are patched: the source of none is rewritten."""
    found = (load for load in context.loads if load.node is call)
    return not _rewrites_norms(context) or all(
        context.patches.calls.issuperset(load.calls) for load in found
    )


def _loads(context: Context) -> Iterator[ast.Call]:
    for node in context.tree.occurrences(_METHOD):
        call = context.tree.parents.get(node)
        if isinstance(node, ast.Attribute) and isinstance(call, ast.Call) and node is call.func:
            if call.args and may_be_of_module(call):
                yield call


def _takes_checkpoint(context: Context, call: ast.Call) -> bool:
    """Whether what is loaded may come from before the rewrite.

    The state of another module of the program has the same keys.
    """
    return not takes_own_state(context.names, call) and not _only_hands_on(context, call)


def _only_hands_on(context: Context, call: ast.expr) -> bool:
    """Whether a load is part of a ``load_state_dict``: it takes what the caller of that gave."""
    function = next((a for a in context.tree.ancestors(call) if isinstance(a, Function)), None)
    return isinstance(function, Function) and _METHOD in function.name


def builds_norms(context: Context) -> bool:
    """Whether the file builds norms that the rewrite changes, or has changed."""
    return builds_own_norms(context) or _builds_torchvision(context) or _builds_others(context)


def builds_own_norms(context: Context) -> bool:
    """Whether the source of the file itself, not that of a library, builds such norms."""
    if any(m.norm.family == "batch" and m.role in _BUILT for m in context.mentions):
        return True
    return not context.keeps_batch_norm and _has_rewritten_group_norm(context)


def _has_rewritten_group_norm(context: Context) -> bool:
    """Whether a GroupNorm stands here whose number of groups is what a rewrite gives it."""
    if context.tree.occurrences(HELPER) or any(context.tree.words_with(GROUP_NORM_AS)):
        return True
    for node in context.tree.occurrences("GroupNorm"):
        call = context.tree.parents.get(node)
        if isinstance(call, ast.Call) and node is call.func and len(call.args) > 1:
            channels = integer(call.args[1])
            if channels and integer(call.args[0]) == num_groups(channels, context.settings):
                return True
    return False


def _builds_torchvision(context: Context) -> bool:
    """Whether a builder of torchvision that takes a norm_layer is called without weights."""
    for call, builder, skip in builder_uses(context):
        works = builder.norm_layer == "works" or (
            builder.norm_layer == "group-norm-only" and not context.keeps_batch_norm
        )
        if works and isinstance(call, ast.Call) and not builder.pretrained_by_default:
            given = [argument(call, name, None, skip) for name in builder.weights]
            placed = [argument(call, None, p, skip) for p in builder.weights_positions]
            if all(_is_off(value) for value in (*given, *placed)):
                return True
    return False


def _builds_others(context: Context) -> bool:
    """Whether a model of timm or MONAI is built whose norms an argument decides."""
    for node, qualified in references(context.names, ("timm", "monai.networks"), ()):
        call = context.tree.parent(node)
        if not isinstance(call, ast.Call) or node is not call.func:
            continue
        model = built_model(call, qualified)
        entry = norm_arguments.lookup(qualified)
        if model is not None and model.effect == "works":
            return _is_off(argument(call, "pretrained", 1, 0))
        if entry is not None and entry.effect == "works" and entry.default:
            return True
    return False


def _is_off(value: ast.expr | None) -> bool:
    return not isinstance(value, ast.expr) or (
        isinstance(value, ast.Constant) and value.value in (None, False)
    )


def _open(context: Context, call: ast.expr, builder: str = "") -> Open:
    """What is said of a load into a model whose norms this file builds, or another one."""
    may = f"the model may have norms that {builder} builds: " if builder else ""
    if context.keeps_batch_norm:
        return Open(
            f"{may}a checkpoint from before the rewrite has three more keys a layer"
            " (running_mean,"
            " running_var, num_batches_tracked), which a strict load refuses",
            _remedy(context, call),
        )
    return Open(
        f"{may}a checkpoint from before the rewrite has running statistics, which a strict load"
        " refuses; weight and bias of its batch norms load into GroupNorm with another"
        " meaning",
        "train anew, or load into the model as it was and call"
        " torch.func.replace_all_batch_norm_modules_(model)",
    )


def _remedy(context: Context, call: ast.expr) -> str:
    """What to do by hand about a load where batch norms stay batch norms."""
    if any(load.node is call and load.is_by_library for load in context.loads):
        return _BY_LIBRARY
    return _KEEP if context.settings.strategy == auto.NAME else _NOT_STRICT
