"""What callables of MONAI and segmentation_models_pytorch do with the norm that they are told.

The data in ``monai.json`` and ``smp.json`` is measured, never written by hand:
``tests/catalog/regenerate_monai.py`` and ``regenerate_smp.py`` build every callable of the
installed library; ``tests/catalog/test_norm_arguments.py`` compares.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from bncodemod.catalog.data import load

_FILES = {"monai": "monai.json", "segmentation_models_pytorch": "smp.json"}


@dataclass(frozen=True, slots=True)
class NormArgument:
    """One callable that builds batch norm, by default or when it is told to.

    ``effect`` says what a norm without running statistics as argument does:

    - ``works``: no norm with running stats is left (outside of an encoder);
    - ``partly``: some of its norms are not reached;
    - ``none``: no argument says which norm, and it builds batch norm;
    - ``no norms``: it builds none (outside of an encoder).

    ``parameter`` and ``position`` are where the norm is said; ``default`` is the default there as
    source, if that builds batch norm. ``channels`` is the parameter that is the number of channels
    of every norm it builds. ``weights`` asks for pretrained weights.
    """

    name: str
    effect: str
    parameter: str = ""
    position: int | None = None
    default: str = ""
    channels: str = ""
    channels_position: int | None = None
    weights: str = ""
    weights_position: int | None = None
    pretrained_by_default: bool = False


def lookup(qualified: str) -> NormArgument | None:
    """The callable of that qualified name, by its canonical name or any alias."""
    library = qualified.partition(".")[0]
    return _by_name(library).get(qualified) if library in _FILES else None


def names(library: str) -> tuple[str, ...]:
    """Every qualified name of a library that ``lookup`` knows."""
    return tuple(_by_name(library))


def encoders_without_norms() -> frozenset[str]:
    """The encoders of segmentation_models_pytorch that hold no batch norm."""
    (entry,) = (e for e in _entries("segmentation_models_pytorch") if "name" not in e)
    return frozenset(entry["encoders_without_norms"])


def version(library: str) -> str:
    """The release that the data was measured on."""
    return str(_data(library)["version"])


@functools.cache
def _data(library: str) -> dict[str, Any]:
    return load(_FILES[library])


def _entries(library: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = _data(library)["callables"]
    return entries


@functools.cache
def _by_name(library: str) -> dict[str, NormArgument]:
    found = {}
    for fields in _entries(library):
        if "name" in fields:
            entry = NormArgument(**{k: v for k, v in fields.items() if k != "aliases"})
            for name in (entry.name, *fields.get("aliases", ())):
                found[name] = entry
    return found
