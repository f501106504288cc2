"""A builder of another library, or one whose name is only known at run time, builds the model.

timm, segmentation_models_pytorch, transformers, torch.hub and others bring their own batch norms,
and no argument at this line is known to change that. The catalog names their builders, and the
classes whose source builds batch norm, also where a class derives from one. Models that are known
to hold none are left alone: what each name of timm and pytorchcv builds was measured, and a
checkpoint of transformers is judged by its name.

Before:
    model = timm.create_model(args.model)
After (runtime-patch):
    model = timm.create_model(args.model)
    replace_all_batch_norm_modules_(model)

``--third-party patch`` does the same beside other strategies. What torch.hub gives is patched only
where its name or its use says that it is a module. What gives no model itself (a learner of fastai,
a pair of open_clip, ``YOLO(…)``) is never patched, but reported.

By hand: once the model is built (and its weights loaded), call
``torch.func.replace_all_batch_norm_modules_(model)``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial

from bncodemod.catalog import model_zoos, named_models
from bncodemod.catalog.model_zoos import ZooBuilder
from bncodemod.rules.model_zoo_classes import class_uses, open_base
from bncodemod.rules.model_zoo_look_ups import asked_for, literal, look_ups
from bncodemod.rules.rule import Match, Rule
from bncodemod.rules.smp_decoder import encoder_has_none, loads_encoder
from bncodemod.rules.timm_model import built_model
from bncodemod.scan.libraries import argument, is_off, mentions_library, references, uses_of
from bncodemod.scan.mentions import Role, role
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Decision, Open, Safe
from bncodemod.strategies.model_builder import built, may_load_weights, of_base
from bncodemod.strategies.patches import standing_patch_of_part
from bncodemod.strategies.patching import PATCHED

rule = Rule("BN107", "model zoo")

_ENCODER = ".get_encoder"


@rule.finds
def zoo_builders(context: Context) -> Iterator[Match]:
    """Every use of a foreign builder or class, and every look-up of a builder by its name."""
    yield from _listed_builders(context)
    yield from _timm_builders(context)
    yield from _pytorchcv_builders(context)
    yield from look_ups(context)
    yield from class_uses(context)


def _listed_builders(context: Context) -> Iterator[Match]:
    """Uses of the builders that the catalog lists by their names."""
    wanted = [
        name
        for root, names in _by_root().items()
        if mentions_library(context.names, root)
        for name in names
        if not context.names.index.is_own(name)
    ]
    for node, qualified in uses_of(context.names, wanted):
        zoo = model_zoos.lookup(qualified)
        use = role(context.names, node)
        above = context.tree.parent(node)
        if zoo is None:
            continue
        if use in (Role.CALL, Role.PARTIAL, Role.VALUE):
            call = above if use is Role.CALL else node
            if not _is_known(call, zoo):
                yield Match(call, partial(_open_zoo, context, call, zoo))
        elif use is Role.BASE and isinstance(above, ast.ClassDef):
            yield Match(node, partial(_open_zoo_base, context, node, above, zoo))


def _is_known(call: ast.AST, zoo: ZooBuilder) -> bool:
    """Whether a call builds a model that the catalog knows: another rule's, or without norms."""
    if not isinstance(call, ast.Call):
        return False
    name = literal(asked_for(call)) or ""
    if zoo.name == "pytorchcv.model_provider.get_model":
        model = named_models.lookup("pytorchcv", name) if name else None
        return model is not None and model.effect == "no norms"
    if zoo.name.endswith(_ENCODER):
        return encoder_has_none(call, "name")
    return zoo.builds_none(name) or _is_measured(call, zoo.name)


def _is_measured(call: ast.AST, qualified: str) -> bool:
    """Whether a call builds a model of timm that another rule speaks of, or that has no norms."""
    return isinstance(call, ast.Call) and built_model(call, qualified) is not None


def _open_zoo_base(context: Context, base: ast.expr, owner: ast.ClassDef, zoo: ZooBuilder) -> Open:
    verb = "builds" if zoo.certain else "may build"
    message = f"class {owner.name} derives from {zoo.name}, which {verb} batch norm"
    if zoo.gives != model_zoos.MODULE:
        return Open(message, zoo.remedy)
    model = of_base(context, base)
    if model is not None:
        weights = any(_loads_weights(call, zoo) for call in model.calls)
        model = replace(model, weights=weights)
    return Open(message, zoo.remedy, model)


def _open_zoo(context: Context, place: ast.AST, zoo: ZooBuilder) -> Decision:
    verb = "builds" if zoo.certain else "may build"
    message = f"{zoo.name} {verb} models with batch norm"
    if zoo.gives == model_zoos.OTHER:
        return _open_other(context, place, zoo, message)
    return built(
        context,
        place,
        message,
        weights=_loads_weights(place, zoo),
        # A repository of torch.hub may also give a tokenizer, or a pair.
        is_module=zoo.gives == model_zoos.MODULE,
        remedy=zoo.remedy,
    )


def _open_other(context: Context, place: ast.AST, zoo: ZooBuilder, message: str) -> Decision:
    """What is said where a model comes with other things, or as a part of something."""
    if isinstance(place, ast.Call):
        standing = standing_patch_of_part(context.names, context.patches, place)
        if standing is not None:
            context.patches.note(standing.kind, (place,), ())
            return Safe(PATCHED)
    return Open(f"{message}, and gives no model itself", zoo.remedy)


def _loads_weights(place: ast.AST, zoo: ZooBuilder) -> bool:
    """Whether what a zoo builds may come with weights; nearly all zoos do by default."""
    if zoo.name.endswith((".from_name", ".from_config")):
        return False
    if not isinstance(place, ast.Call):
        return True
    if zoo.name.endswith(_ENCODER):
        weights = argument(place, "weights", 3)
        return weights is not None and not is_off(weights)
    if zoo.library == "segmentation_models_pytorch":
        return loads_encoder(place)
    by_request = zoo.library in ("timm", "pytorchcv")
    model_name = ast.Call(place.func, place.args[1:], place.keywords)
    return not by_request or may_load_weights(model_name)


def _built(context: Context, call: ast.AST, message: str) -> Open:
    weights = not isinstance(call, ast.Call) or may_load_weights(call)
    return built(context, call, message, weights=weights)


def _timm_builders(context: Context) -> Iterator[Match]:
    """Classes on top of timm's, and calls of functions that it registers, one a model."""
    if not mentions_library(context.names, "timm"):
        return
    for node, qualified in references(context.names, ("timm.models",), ()):
        use, above = role(context.names, node), context.tree.parent(node)
        if use is Role.BASE and isinstance(above, ast.ClassDef):
            yield Match(node, partial(open_base, context, node, above.name, qualified))
        elif use is Role.CALL and _is_timm_builder(qualified):
            if not _is_measured(above, qualified):
                message = f"{qualified} may build a model with batch norm"
                yield Match(above, partial(_built, context, above, message))


def _pytorchcv_builders(context: Context) -> Iterator[Match]:
    """Calls of pytorchcv's own functions, one a model."""
    if not mentions_library(context.names, "pytorchcv"):
        return
    for node, qualified in references(context.names, ("pytorchcv.models",), ()):
        name = qualified.rpartition(".")[2]
        model = named_models.lookup("pytorchcv", name)
        if model is not None and model.effect != "no norms":
            if role(context.names, node) is Role.CALL:
                message = f"{name} builds batch norm and takes no norm_layer"
                call = context.tree.parent(node)
                yield Match(call, partial(_built, context, call, message))


@cache
def _by_root() -> dict[str, list[str]]:
    """The builders of the catalog by the text that must stand in a file that uses them."""
    found: dict[str, list[str]] = {}
    for zoo in model_zoos.builders():
        root = "torch.hub" if zoo.name.startswith("torch.hub.") else zoo.name.partition(".")[0]
        found.setdefault(root, []).append(zoo.name)
    return found


def _is_timm_builder(qualified: str) -> bool:
    """Whether a name is one of the models that timm registers: nearly all have a number in it."""
    package, _, name = qualified.rpartition(".")
    numbered = name.islower() and any(character.isdigit() for character in name)
    return package.startswith("timm.models") and "._" not in package and numbered
