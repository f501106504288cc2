"""timm builds a model that is known by its name.

Which models hold batch norm, and for which of them ``norm_layer=`` leaves none with running
statistics and changes nothing else, was measured on timm itself and is kept in the catalog; so are
the eps and momentum of their norms, which a bare ``norm_layer`` would lose.

Before:
    model = timm.create_model("resnet50", num_classes=10)
After (no-running-stats):
    model = timm.create_model("resnet50", num_classes=10, norm_layer=partial(nn.BatchNorm2d, track_running_stats=False))
After (group-norm):
    model = timm.create_model("resnet50", num_classes=10, norm_layer=make_group_norm)
After (runtime-patch):
    model = timm.create_model("resnet50", num_classes=10)
    replace_all_batch_norm_modules_(model)

Open where ``norm_layer`` does not reach every norm, is refused, or pretrained weights are asked
for. A model without batch norm (most transformers) is no finding. Names that are known only at run
time are reported by BN107.

By hand: build the model (and load its weights), then call
``torch.func.replace_all_batch_norm_modules_(model)``.
"""  # noqa: E501

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial

from bncodemod.catalog import named_models
from bncodemod.catalog.libraries import TIMM_MODEL_FACTORIES
from bncodemod.catalog.named_models import NamedModel
from bncodemod.catalog.torch import NORM_CLASSES
from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.libraries import argument, has_mapping, is_off, mentions_library, references
from bncodemod.scan.mentions import Role, role
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Decision, Open
from bncodemod.strategies.model_builder import PATCH, built, loads_weights, with_norm_layer

rule = Rule("BN110", "timm model", priority=9)

_PARAMETER = "norm_layer"
# Names that timm's _NORM_MAP knows batch norm by, underscores left out.
_NAMES = frozenset({"batchnorm", "batchnorm2d"})
_OBSTACLES = {
    "partly": "norm_layer does not reach all of its batch norms",
    "swallowed": "swallows norm_layer without any effect",
    "twice": "passes a norm_layer of its own, so that another is a TypeError",
    "refused": "takes no norm_layer",
    "mixed": "gives its batch norms settings that differ, which one norm_layer would lose",
}


@rule.finds
def timm_models(context: Context) -> Iterator[Match]:
    """Every call that builds a model of timm whose name is written out."""
    if not mentions_library(context.names, "timm"):
        return
    for node, qualified in references(context.names, ("timm",), ()):
        call = context.tree.parent(node)
        if role(context.names, node) is not Role.CALL or not isinstance(call, ast.Call):
            continue
        name, skip = _model(call, qualified)
        model = named_models.lookup("timm", name) if name else None
        if model is None or model.effect == "no norms":
            continue
        given = argument(call, _PARAMETER, None, skip)
        if given is None or _is_name(given) or model.effect != "works":
            decide = partial(_decide, context, call, name, model, skip, given)
            yield Match(call, decide)


def built_model(call: ast.Call, qualified: str) -> NamedModel | None:
    """The model of timm that a call builds, if the call says which."""
    name, _ = _model(call, qualified)
    return named_models.lookup("timm", name) if name else None


def _model(call: ast.Call, qualified: str) -> tuple[str, int]:
    """The name of the model that a call builds, and how many arguments stand before its own."""
    if qualified in TIMM_MODEL_FACTORIES:
        name = argument(call, "model_name", 0)
        literal = isinstance(name, ast.Constant) and isinstance(name.value, str)
        return (name.value, 1) if literal else ("", 1)  # type: ignore[union-attr]
    return (qualified.rpartition(".")[2], 0) if qualified.startswith("timm.models.") else ("", 0)


def _decide(
    context: Context,
    call: ast.Call,
    name: str,
    model: NamedModel,
    skip: int,
    given: ast.expr | None,
) -> Decision:
    refusal = _refusal(context, call, name, model, skip)
    if refusal is not None:
        return refusal
    return with_norm_layer(
        context,
        call,
        name,
        NORM_CLASSES["BatchNorm2d"],
        parameter=_PARAMETER,
        given=given,
        eps=model.eps,
        momentum=model.momentum,
    )


def _refusal(
    context: Context, call: ast.Call, name: str, model: NamedModel, skip: int
) -> Open | None:
    """Why no argument of this call can do it, if none can."""
    pretrained = argument(call, "pretrained", 0, skip)
    checkpoint = argument(call, "checkpoint_path", None, skip)
    weights = any(value is not None and not is_off(value) for value in (pretrained, checkpoint))
    if model.effect != "works":
        message = f"{name} holds batch norm and {_OBSTACLES[model.effect]}"
        return built(context, call, message, weights=weights or has_mapping(call))
    if weights:
        return loads_weights(context, call, name)
    if has_mapping(call):
        message = f"{name} holds batch norm, and ** may hide norm_layer or pretrained"
        return built(context, call, message, weights=True)
    if any((keyword.arg or "").startswith("bn_") for keyword in call.keywords):
        message = f"{name} takes bn_ settings only as long as no norm_layer is given"
        return built(context, call, message, weights=False)
    if not context.keeps_batch_norm and not model.group_norm:
        own = ' or pass norm_layer="groupnorm", timm\'s own of 32 groups in every layer'
        return built(
            context,
            call,
            f"{name} makes norm-and-activation layers of norm_layer, which a factory of GroupNorm"
            " does not give",
            weights=False,
            remedy=PATCH + (own if model.own_group_norm else ""),
        )
    return None


def _is_name(node: ast.expr) -> bool:
    """Whether an argument names batch norm by a string."""
    value = node.value if isinstance(node, ast.Constant) else None
    return isinstance(value, str) and value.replace("_", "").lower() in _NAMES
