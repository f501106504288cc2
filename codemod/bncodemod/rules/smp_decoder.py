"""A model of segmentation_models_pytorch whose encoder holds no batch norm gets its decoder's norm.

``decoder_use_norm`` reaches the decoder alone. Most encoders build batch norms of their own, and
then the call is reported as a whole by BN107. Which encoders hold none, and which decoders take
the argument, was measured and is kept in the catalog.

Before:
    import segmentation_models_pytorch as smp
    net = smp.Unet("mit_b0", classes=2)
After (no-running-stats):
    import segmentation_models_pytorch as smp
    net = smp.Unet("mit_b0", classes=2, decoder_use_norm={"type": "batchnorm", "track_running_stats": False})

Under group-norm the call is open: the library has no GroupNorm.

By hand: pass ``decoder_use_norm={"type": "batchnorm", "track_running_stats": False}``, or build the
model and call ``torch.func.replace_all_batch_norm_modules_(model)``.
"""  # noqa: E501

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial

from bncodemod.catalog import named_models, norm_arguments
from bncodemod.catalog.norm_arguments import NormArgument
from bncodemod.catalog.torch import FLAG
from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.libraries import argument, has_mapping, is_off, mentions_library, references
from bncodemod.scan.literals import is_false
from bncodemod.scan.mentions import Role, role
from bncodemod.source.splice import Edit
from bncodemod.strategies import dict_edit
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import NO_STATISTICS, Decision, Open, Rewrite, Safe
from bncodemod.strategies.model_builder import PATCH, built, model_of

rule = Rule("BN112", "segmentation decoder", priority=8)

_LIBRARY = "segmentation_models_pytorch"
_TIMM = "tu-"
# Older releases say it by these.
_OLD = ("decoder_use_batchnorm", "psp_use_batchnorm")
_NOT_TRACKING = f'{{"type": "batchnorm", "{FLAG}": False}}'


@rule.finds
def decoders(context: Context) -> Iterator[Match]:
    """Calls of models whose encoder is known to hold no batch norm."""
    if not mentions_library(context.names, _LIBRARY):
        return
    for node, qualified in references(context.names, (_LIBRARY,), norm_arguments.names(_LIBRARY)):
        entry = norm_arguments.lookup(qualified)
        call = context.tree.parent(node)
        if entry is None or role(context.names, node) is not Role.CALL:
            continue
        if isinstance(call, ast.Call) and encoder_has_none(call):
            yield Match(call, partial(_decide, context, call, entry))


def encoder_has_none(call: ast.Call, parameter: str = "encoder_name") -> bool:
    """Whether a call names an encoder, by its first parameter, that holds no batch norm."""
    encoder = argument(call, parameter, 0)
    if not isinstance(encoder, ast.Constant) or not isinstance(encoder.value, str):
        return False
    if encoder.value.startswith(_TIMM):
        model = named_models.lookup("timm", encoder.value.removeprefix(_TIMM))
        return model is not None and model.effect == "no norms"
    return encoder.value in norm_arguments.encoders_without_norms()


def _decide(context: Context, call: ast.Call, entry: NormArgument) -> Decision:
    name = entry.name.rpartition(".")[2]
    if entry.effect == "no norms":
        return Safe(f"neither this encoder nor the decoder of {name} holds batch norm")
    if entry.effect != "works":
        message = f"the decoder of {name} builds batch norms that no argument reaches"
        return _built(context, call, message)
    if has_mapping(call):
        message = f"the decoder of {name} builds batch norm, and ** may hide how"
        return _built(context, call, message)
    given = argument(call, entry.parameter, entry.position, 0)
    old = next((k.value for k in call.keywords if k.arg in _OLD), None)
    if old is not None:
        return Open(
            f"{name} is told its norm by an argument of older releases",
            f"pass {entry.parameter}={_NOT_TRACKING} instead",
        )
    if given is None:
        return _rewritten(context, call, entry, name)
    return _given(context, call, given, name)


def _given(context: Context, call: ast.Call, given: ast.expr, name: str) -> Decision:
    """What becomes of a norm that the call says itself."""
    if isinstance(given, ast.Dict):
        return _given_dict(context, call, given, name)
    value = given.value if isinstance(given, ast.Constant) else None
    kind = value.lower() if isinstance(value, str) else value
    if kind is not None and kind not in (True, "batchnorm", "inplace"):
        return Safe(f"the decoder of {name} holds no batch norm")
    if kind == "inplace":
        return _inplace(name)
    if kind is None or not context.keeps_batch_norm:
        return _no_argument(context, call, name)
    return _rewrite(context, call, context.replace(given, _NOT_TRACKING), name)


def _given_dict(context: Context, call: ast.Call, given: ast.Dict, name: str) -> Decision:
    entries = {
        key.value: value
        for key, value in zip(given.keys, given.values, strict=True)
        if isinstance(key, ast.Constant)
    }
    kind, flag = entries.get("type"), entries.get(FLAG)
    value = kind.value if isinstance(kind, ast.Constant) else None
    if value == "inplace":
        return _inplace(name)
    if value is not None and value != "batchnorm":
        return Safe(f"the decoder of {name} holds no batch norm")
    if is_false(flag):
        return NO_STATISTICS
    if value is None or not context.keeps_batch_norm:
        return _no_argument(context, call, name)
    start, end = context.tree.span(given)
    newline = context.newline(given)
    edit = Edit(
        start,
        end,
        lambda text: dict_edit.edit_dict(
            text, newline, lambda node: dict_edit.put(node, FLAG, "False")
        ),
    )
    return _rewrite(context, call, edit, name)


def _rewritten(context: Context, call: ast.Call, entry: NormArgument, name: str) -> Decision:
    if not context.keeps_batch_norm:
        return _no_argument(context, call, name)
    return _rewrite(context, call, context.append(call, entry.parameter, _NOT_TRACKING), name)


def _rewrite(context: Context, call: ast.Call, edit: Edit, name: str) -> Rewrite:
    message = f"the decoder of {name} keeps no running statistics any more"
    return Rewrite((edit,), message, model=model_of(context, call, weights=loads_encoder(call)))


def _inplace(name: str) -> Open:
    return Open(
        f"the decoder of {name} builds InPlaceABN, whose running statistics neither a flag nor"
        " torch.func.replace_all_batch_norm_modules_ reaches",
        f"pass decoder_use_norm={_NOT_TRACKING}",
    )


def _no_argument(context: Context, call: ast.Call, name: str) -> Open:
    if context.keeps_batch_norm:
        remedy = f"pass decoder_use_norm={_NOT_TRACKING}"
        return _built(context, call, f"the decoder of {name} may hold batch norm", remedy)
    return _built(context, call, f"the decoder of {name} builds batch norm and knows no GroupNorm")


def _built(context: Context, call: ast.Call, message: str, remedy: str = PATCH) -> Open:
    return built(context, call, message, weights=loads_encoder(call), remedy=remedy)


def loads_encoder(call: ast.Call) -> bool:
    """Whether a model's encoder may come with weights, as it does by default."""
    weights = argument(call, "encoder_weights", 2)
    return weights is None or not is_off(weights)
