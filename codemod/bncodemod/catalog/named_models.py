"""What the models that timm and pytorchcv build by a name hold, and what ``norm_layer=`` does.

The data in ``timm.json`` and ``pytorchcv.json`` is measured, never written by hand:
``tests/catalog/regenerate_timm.py`` and ``regenerate_pytorchcv.py`` build every model of the
installed library; ``tests/catalog/test_named_models.py`` compares.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from bncodemod.catalog.data import load

_FILES = {"timm": "timm.json", "pytorchcv": "pytorchcv.json"}


@dataclass(frozen=True, slots=True)
class NamedModel:
    """One model that a library builds by its name.

    ``effect`` says what ``norm_layer=partial(nn.BatchNorm2d, track_running_stats=False)`` does:

    - ``no norms``: the model holds no batch norm with running statistics;
    - ``works``: none with running statistics is left, and nothing else changes;
    - ``partly``: some of its norms are not reached;
    - ``swallowed``: accepted without an error, and without any effect;
    - ``twice``: TypeError, the model passes a norm_layer of its own;
    - ``refused``: an error of another kind;
    - ``mixed``: its norms differ in eps or momentum, so that one factory cannot stand for all.

    ``eps`` and ``momentum`` are what its norms have where this differs from batch norm's own
    defaults. ``group_norm``: a factory of GroupNorm with BatchNorm's arguments works as well;
    ``own_group_norm``: ``norm_layer="groupnorm"``, timm's own of 32 groups, does.
    """

    effect: str
    eps: float | None = None
    momentum: float | None = None
    group_norm: bool = False
    own_group_norm: bool = False


def lookup(library: str, name: str) -> NamedModel | None:
    """The model that a library builds by that name; timm's pretrained tag is left out."""
    return _by_name(library).get(name.partition(".")[0])


def version(library: str) -> str:
    """The release that the data was measured on."""
    return str(_data(library)["version"])


def names(library: str) -> tuple[str, ...]:
    """The names of a library's models."""
    return tuple(_by_name(library))


@functools.cache
def _data(library: str) -> dict[str, Any]:
    return load(_FILES[library])


@functools.cache
def _by_name(library: str) -> dict[str, NamedModel]:
    found = {}
    for group in _data(library)["groups"]:
        model = NamedModel(**{key: value for key, value in group.items() if key != "models"})
        found.update(dict.fromkeys(group["models"], model))
    return found
