"""The names outside of a project that count: what they denote is a norm, or may hold or build one.

Every other part of the catalog says what one library does; here they are names in modules.
"""

from __future__ import annotations

from functools import cache

from bncodemod.catalog import (
    model_zoos,
    module_classes,
    named_models,
    norm_arguments,
    torchvision,
)
from bncodemod.catalog.torch import FUNCTIONS, NORM_CLASSES, norm_class

TORCH_MODULES = frozenset({"torch", "torch.nn", "torch.nn.functional", "torch.nn.modules"})

# What every second file calls torch's modules: a use of norms by these names is seen by itself.
USUAL_MODULE_NAMES = frozenset({"torch", "nn", "F", "functional", "modules"})

TIMM_MODEL_FACTORIES = frozenset(
    {
        "timm.create_model",
        "timm.models.create_model",
        "timm.models.factory.create_model",
        "timm.models._factory.create_model",
    }
)
TIMM_LAYER_CREATORS = ("create_norm_layer", "create_norm_act_layer")
TIMM_LAYER_GETTERS = ("get_norm_layer", "get_norm_act_layer")
MONAI_NORMS = ("monai.networks.layers.Norm", "monai.networks.layers.factories.Norm")
# Looked up by names that are only known at run time.
TORCHVISION_LOOK_UPS = ("torchvision.models.get_model", "torchvision.models.get_model_builder")

# Packages that are nothing but models.
_MODELS = ("timm.models", "pytorchcv", "pretrainedmodels", "efficientnet_pytorch")
_NO_MODELS = tuple(f"timm.models.{name}" for name in ("layers", "registry", "helpers", "_"))


def timm_layer_factories() -> tuple[str, ...]:
    """timm's functions that are told the norm by its name, wherever they are taken from."""
    return tuple(
        f"{package}.{name}"
        for factory in (*TIMM_LAYER_CREATORS, *TIMM_LAYER_GETTERS)
        for module in ("create_norm_act" if "_act_" in factory else "create_norm",)
        for package in ("timm.layers", "timm.models.layers")
        for name in (factory, f"{module}.{factory}")
    )


def counts(qualified: str) -> bool:
    """Whether what a name outside of the project denotes may be, hold or build a norm."""
    if norm_class(qualified) or qualified in TORCH_MODULES or qualified in FUNCTIONS:
        return True
    root = qualified.partition(".")[0]
    if root not in _roots():
        return False
    if any(f"{qualified}.".startswith(f"{package}.") for package in _MODELS):
        if not qualified.startswith(_NO_MODELS):
            return True
    return qualified in _known(root) or qualified in _modules(root)


def holds_models(qualified: str) -> bool:
    """Whether a name is that of a library of layers and models."""
    root = qualified.partition(".")[0]
    return root in _roots() or root == "torch"


def gives_module(qualified: str) -> bool:
    """Whether a callable of a library is known to give a module."""
    zoo = model_zoos.lookup(qualified)
    is_builder = zoo is not None and zoo.gives == model_zoos.MODULE
    return is_builder or bool(module_classes.lookup(qualified))


def exported_by(module: str) -> frozenset[str]:
    """The names that count of those that a star import from a module brings in."""
    if module in TORCH_MODULES or module.startswith("torch.nn.modules."):
        names = (*NORM_CLASSES, "nn", "functional", "batch_norm", "instance_norm")
        return frozenset(name for name in names if counts(f"{module}.{name}"))
    root = module.partition(".")[0]
    if root not in _roots():
        return frozenset()
    prefix = f"{module}."
    found = {q[len(prefix) :].partition(".")[0] for q in _known(root) if q.startswith(prefix)}
    if module == "timm.models":
        found.update(named_models.names("timm"))
    return frozenset(name for name in found if not name.startswith("_"))


@cache
def _roots() -> frozenset[str]:
    of_classes = module_classes.libraries()
    return frozenset({*model_zoos.roots(), *of_classes, "monai", "torchvision"})


@cache
def _known(root: str) -> frozenset[str]:
    """The callables of one library."""
    found = {zoo.name for zoo in model_zoos.builders() if zoo.name.startswith(f"{root}.")}
    found |= module_classes.names(root)
    if root == "torchvision":
        found.update((*torchvision.names(), *TORCHVISION_LOOK_UPS))
    elif root == "timm":
        found.update((*TIMM_MODEL_FACTORIES, *timm_layer_factories()))
    elif root == "monai":
        found.update((*norm_arguments.names(root), *MONAI_NORMS))
    elif root == "segmentation_models_pytorch":
        found.update(norm_arguments.names(root))
    return frozenset(found)


@cache
def _modules(root: str) -> frozenset[str]:
    """The modules in which the callables of a library are."""
    found = set()
    for name in _known(root):
        while name := name.rpartition(".")[0]:
            found.add(name)
    return frozenset(found)
