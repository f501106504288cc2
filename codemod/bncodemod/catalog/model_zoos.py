"""Builders of other libraries that bring batch norm in and have no ``norm_layer=`` to fix it by.

Written by hand in ``model_zoos.json``: the norms are in the library's own code, so the remedy is
always to replace them in the module that was built.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ZooBuilder:
    """One builder of a library outside the swept code.

    ``certain``: everything it builds holds batch norm with running stats; otherwise that depends
    on its arguments. ``remedy`` is one line.
    """

    name: str
    library: str
    certain: bool
    remedy: str


def lookup(qualified: str) -> ZooBuilder | None:
    """The builder of that qualified name."""
    return _by_name().get(qualified)


def builders() -> tuple[ZooBuilder, ...]:
    """All of them."""
    return tuple(_by_name().values())


@functools.cache
def _by_name() -> dict[str, ZooBuilder]:
    import json
    from importlib import resources

    text = (resources.files(__package__) / "model_zoos.json").read_text(encoding="utf-8")
    data: dict[str, Any] = json.loads(text)
    common = data["remedy"]
    return {
        name: ZooBuilder(name, zoo["library"], zoo["certain"], f"{common}{zoo.get('more', '')}")
        for zoo in data["zoos"]
        for name in zoo["names"]
    }
