"""Builders of other libraries that bring batch norm in and have no ``norm_layer=`` to fix it by.

Written by hand in ``model_zoos.json``: the norms are in the library's own code, so the remedy is
always to replace them in the module that was built.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from bncodemod.catalog.data import load

MODULE = "module"
UNSURE = "unsure"
OTHER = "other"


@dataclass(frozen=True, slots=True)
class ZooBuilder:
    """One builder of a library outside the swept code.

    ``certain``: everything it builds holds batch norm with running stats; otherwise that depends
    on its arguments. ``remedy`` is one line. ``gives`` says whether what it gives is a module, may
    be one, or is something else that holds one. A checkpoint or model is asked for by a name:
    ``named`` are parts of those that hold batch norm, ``unnamed`` of those that do not, as long as
    none of the others is in it.
    """

    name: str
    library: str
    certain: bool
    remedy: str
    gives: str = MODULE
    named: tuple[str, ...] = ()
    unnamed: tuple[str, ...] = ()

    def builds_none(self, asked: str) -> bool:
        """Whether what is asked for by a name is known to hold no batch norm."""
        asked = asked.lower()
        return not any(part in asked for part in self.named) and any(
            part in asked for part in self.unnamed
        )


def lookup(qualified: str) -> ZooBuilder | None:
    """The builder of that qualified name."""
    return _by_name().get(qualified)


def builders() -> tuple[ZooBuilder, ...]:
    """All of them."""
    return tuple(_by_name().values())


@functools.cache
def roots() -> frozenset[str]:
    """The libraries, as they are imported."""
    return frozenset(builder.name.partition(".")[0] for builder in builders())


@functools.cache
def _by_name() -> dict[str, ZooBuilder]:
    data = load("model_zoos.json")
    common = data["remedy"]
    return {
        name: ZooBuilder(name, remedy=f"{common}{zoo.get('more', '')}", **_fields(zoo))
        for zoo in data["zoos"]
        for name in zoo["names"]
    }


def _fields(zoo: dict[str, Any]) -> dict[str, Any]:
    fields = {key: value for key, value in zoo.items() if key not in ("names", "more")}
    return {key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()}
