"""A model of a library that bncodemod does not know runs under a transform.

Before:
    from unknownlib import build_net
    model = build_net()
    per_sample = vmap(model)(batches)
    model = torch.load("whole_model.pt", weights_only=False)
    stacked = stack_module_state([model])

The source of the library is not read, and its catalog has no entry for the call: whether the model
holds batch norm is not known. Models of torchvision, timm, MONAI and others whose builders are
known are reported by the rules for them, or hold none. What is handed to a library with a module,
as a wrapper, is not followed.

By hand: if it holds batch norm, call ``torch.func.replace_all_batch_norm_modules_(model)`` once the
model is built and its weights are loaded.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial

from bncodemod.catalog import model_zoos, module_classes
from bncodemod.rules.model_zoo_look_ups import asked_for, literal
from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.libraries import uses_of
from bncodemod.scan.model_origins import Origins
from bncodemod.strategies import auto, group_norm, no_running_stats, runtime_patch
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import BuiltModel, Decision, Open, Safe
from bncodemod.strategies.model_use import safe_use
from bncodemod.strategies.patching import patched_already

# Eval mode concerns every model, known or not. Last, so that what another rule knows is left to it.
rule = Rule(
    "BN208",
    "foreign model",
    priority=31,
    strategies=(
        no_running_stats.NoRunningStats.name,
        group_norm.GroupNorm.name,
        runtime_patch.RuntimePatch.name,
        auto.NAME,
    ),
)

_OF_TORCH_FUNC = ("torch.func.", "torch.vmap", "functorch.")
_STACKS = ("torch.func.stack_module_state", "functorch.combine_state_for_ensemble")
# All of whose builders were measured, or which build no model.
_KNOWN = frozenset(
    {"einops", "monai", "pytorchcv", "segmentation_models_pytorch", "timm", "torchvision"}
)


@rule.finds
def foreign_models(context: Context) -> Iterator[Match]:
    """The calls of unknown libraries whose models are run by transforms, or are stacked."""
    found: dict[ast.Call, ast.expr] = {}
    origins = Origins(context.names, context.called_modules)
    for node, run in _run(context):
        for call in origins.of(run):
            found.setdefault(call, node)
    for call, node in found.items():
        if not _is_known(context, call):
            yield Match(call, partial(_decide, context, call, node))


def _run(context: Context) -> Iterator[tuple[ast.expr, list[ast.expr]]]:
    """What runs or stacks modules, and the modules."""
    modules = context.called_modules
    for transformed in modules.transforms.outermost():
        if any(name.startswith(_OF_TORCH_FUNC) for name in transformed.transforms):
            yield transformed.node, modules.of(transformed.function).all_modules
    for node, _ in uses_of(context.names, _STACKS):
        call = context.tree.call_to(node)
        if call is not None and call.args:
            yield call, call.args[:1]


def _is_known(context: Context, call: ast.Call) -> bool:
    """Whether it is known what a call builds: other rules say so if that is batch norm."""
    qualified = context.names.qualified(call.func)
    root = qualified.partition(".")[0]
    zoo = model_zoos.lookup(qualified)
    if root in _KNOWN:
        return True
    if zoo is not None:  # reported, unless what is asked for is known only at run time
        return literal(asked_for(call)) is not None or not zoo.builds_none("")
    owner, _, last = qualified.rpartition(".")
    name = owner.rpartition(".")[2] if last in module_classes.BUILDING_METHODS else last
    return root in module_classes.libraries() and name[:1].isupper()


def _decide(context: Context, call: ast.Call, node: ast.expr) -> Decision:
    standing = patched_already(context, BuiltModel((call,), weights=True))
    if standing is not None:
        return standing
    reason = safe_use(context, call) if context.strategy.name == auto.NAME else ""
    if reason:
        return Safe(f"auto: {reason}")
    if context.calls.way:
        return Safe(f"auto: {context.calls.reason}")
    what = context.names.qualified(call.func) or ast.unparse(call.func)
    return Open(
        f"{what} gives a model whose source is not read, and which may hold batch norm: line"
        f" {context.line(node)} runs it under a transform",
        "if it holds batch norm, call torch.func.replace_all_batch_norm_modules_(model) once it is"
        " built and its weights are loaded",
    )
