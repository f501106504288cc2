"""The packages of the zoo, as data: what is copied, which models there are, how one is built.

Nothing here imports torch or a package at the top: the process that rewrites needs neither.
Models are built without any weights.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import zoo_models

Builder = Callable[..., Any]  # keyword arguments to torch.nn.Module


@dataclass(frozen=True)
class Package:
    """What is rewritten together, and how the models of its first member are found and built."""

    rewritten: tuple[str, ...]
    distribution: str
    names: Callable[[], list[str]]
    builder: Callable[[str], Builder]
    family: Callable[[str], str]


# --- torchvision and timm: a registry of functions ----------------------------------------------


def _listed(package: str) -> list[str]:
    names: list[str] = importlib.import_module(f"{package}.models").list_models()
    return names


def _entry_point(package: str, name: str) -> Builder:
    models: Any = importlib.import_module(f"{package}.models")
    find = models.model_entrypoint if package == "timm" else models.get_model_builder
    function: Builder = find(name)
    return function


def _without_weights(function: Builder) -> Builder:
    weights = dict.fromkeys(n for n in inspect.signature(function).parameters if "weights" in n)
    return lambda **kwargs: function(**{**weights, **kwargs})


def _registry(package: str) -> Package:
    return Package(
        rewritten=(package,),
        distribution=package,
        names=lambda: _listed(package),
        builder=lambda name: _without_weights(_entry_point(package, name)),
        family=lambda name: str(_entry_point(package, name).__module__),
    )


# --- pytorchcv ----------------------------------------------------------------------------------


def _pytorchcv_models() -> dict[str, Builder]:
    models: dict[str, Builder] = importlib.import_module("pytorchcv.model_provider")._models
    return models


def _pytorchcv_names() -> list[str]:
    """All but the speech models: their constructors need librosa, a large dependency."""
    speech = ("jasper", "jasperdr", "quartznet")
    models = _pytorchcv_models().items()
    return sorted(n for n, f in models if f.__module__.rpartition(".")[2] not in speech)


# --- segmentation-models-pytorch: architectures times encoders ----------------------------------


def _smp_names() -> list[str]:
    smp: Any = importlib.import_module("segmentation_models_pytorch")
    return [
        f"{architecture.__name__}/{encoder}"
        for architecture in smp._MODEL_ARCHITECTURES
        for encoder in zoo_models.SMP_ENCODERS
        if zoo_models.smp_goes_together(architecture.__name__, encoder)
    ]


def _smp_builder(name: str) -> Builder:
    smp: Any = importlib.import_module("segmentation_models_pytorch")
    architecture, encoder = name.split("/")
    make = getattr(smp, architecture)
    return lambda **kwargs: make(encoder_name=encoder, encoder_weights=None, **kwargs)


def _smp(*beside: str) -> Package:
    return Package(
        rewritten=("segmentation_models_pytorch", *beside),
        distribution="segmentation-models-pytorch",
        names=_smp_names,
        builder=_smp_builder,
        family=lambda name: name.split("/")[0],
    )


# --- MONAI: no registry, so a table of classes and arguments ------------------------------------


def _monai_builder(name: str) -> Builder:
    path, arguments, _ = zoo_models.MONAI_NETS[name]
    make = getattr(importlib.import_module("monai.networks.nets"), path)
    return lambda **kwargs: make(**{**arguments, **kwargs})


PACKAGES: dict[str, Package] = {
    "torchvision": _registry("torchvision"),
    "timm": _registry("timm"),
    "pytorchcv": Package(
        rewritten=("pytorchcv",),
        distribution="pytorchcv",
        names=_pytorchcv_names,
        builder=lambda name: lambda **kwargs: _pytorchcv_models()[name](pretrained=False, **kwargs),
        family=lambda name: str(_pytorchcv_models()[name].__module__),
    ),
    "smp": _smp(),
    # The encoders of timm and torchvision are the user's own code too.
    "smp+timm+torchvision": _smp("timm", "torchvision"),
    "monai": Package(
        rewritten=("monai",),
        distribution="monai",
        names=lambda: list(zoo_models.MONAI_NETS),
        builder=_monai_builder,
        family=lambda name: zoo_models.MONAI_NETS[name][0],
    ),
}
