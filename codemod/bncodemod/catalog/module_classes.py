"""Classes of other libraries whose source builds batch norm, where no argument may be relied on.

The data in ``module_classes.json`` is read from the libraries' own source, never written by hand:
``tests/catalog/regenerate_module_classes.py``; ``tests/catalog/test_module_classes.py`` compares.
Which of them hold batch norm with their default arguments is not measured.
"""

from __future__ import annotations

import functools

from bncodemod.catalog.data import load

# Methods of classes that build an object of the class.
BUILDING_METHODS = ("from_pretrained", "from_config", "_from_config", "from_name")
_FILE = "module_classes.json"


@functools.cache
def libraries() -> tuple[str, ...]:
    """The libraries, as they are imported."""
    return tuple(entry["library"] for entry in load(_FILE)["libraries"])


def lookup(qualified: str) -> str:
    """The class that a qualified name denotes, or a method that builds one; empty if neither."""
    owner, _, last = qualified.rpartition(".")
    name = owner if last in BUILDING_METHODS else qualified
    return name if name in names(qualified.partition(".")[0]) else ""


@functools.cache
def names(library: str) -> frozenset[str]:
    """The qualified names of a library's classes."""
    return frozenset(
        f"{module}.{name}"
        for entry in load(_FILE)["libraries"]
        if entry["library"] == library
        for module, classes in entry["classes"].items()
        for name in classes
    )
