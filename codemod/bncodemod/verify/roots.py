"""Under which name, and from which folder, a file is imported as its project imports it."""

from __future__ import annotations

import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_RELATIVE = re.compile(rb"^[ \t]*from[ \t]+(\.+)", re.MULTILINE)
_ABSOLUTE = re.compile(rb"^[ \t]*(?:from|import)[ \t]+(\w+)", re.MULTILINE)
_MARKS = (".git", ".hg", "pyproject.toml", "setup.py", "setup.cfg")
_INSTALLED = frozenset({"numpy", "torch", "torchvision"}) | sys.stdlib_module_names


@dataclass(frozen=True, slots=True)
class Place:
    """A module: its dotted ``name`` below ``root``, and what else has to be on sys.path."""

    name: str
    root: str
    folders: tuple[str, ...] = ()


def places(files: Mapping[str, bytes]) -> dict[str, Place]:
    """The place of each file of a run, given with its bytes.

    A package is imported from the folder above it. A folder without an ``__init__.py`` is one if
    its files import each other by leading dots; other files are scripts, imported from their own
    folder. Folders above, up to the project's top, and the file's own are added where an import of
    the run is found there and nowhere nearer, as it would be if a program were started there.
    """
    found = {path: _place(os.path.abspath(path), data) for path, data in files.items()}
    wanted: dict[str, set[str]] = defaultdict(set)
    for path, data in files.items():
        names = {name.decode() for name in _ABSOLUTE.findall(data)} - _INSTALLED
        wanted[found[path].root].update(names)
    return {
        path: Place(place.name, place.root, _folders(path, place, wanted[place.root]))
        for path, place in found.items()
    }


def _place(path: str, data: bytes) -> Place:
    folder, file = os.path.split(path)
    stem = os.path.splitext(file)[0]
    parts = [] if stem == "__init__" else [stem]
    level = max((len(dots) for dots in _RELATIVE.findall(data)), default=0)
    depth = 0
    while depth < level or os.path.isfile(os.path.join(folder, "__init__.py")):
        above, name = os.path.split(folder)
        if not name:
            break
        parts.insert(0, name)
        folder = above
        depth += 1
    return Place(".".join(parts), folder)


def _folders(path: str, place: Place, wanted: Iterable[str]) -> tuple[str, ...]:
    """Further folders for sys.path: those above the root, the nearest first, and the file's own."""
    own = os.path.dirname(os.path.abspath(path))
    nearer = [place.root]
    for folder in (*_above(place.root), own):
        if folder in nearer:
            continue
        if any(_holds(folder, n) and not any(_holds(near, n) for near in nearer) for n in wanted):
            nearer.append(folder)
    return tuple(nearer[1:])


def _above(root: str) -> list[str]:
    """The folders above a root, up to the one that is marked as the project's top."""
    found: list[str] = []
    if any(os.path.exists(os.path.join(root, mark)) for mark in _MARKS):
        return found
    for folder in map(str, Path(root).parents):
        found.append(folder)
        if any(os.path.exists(os.path.join(folder, mark)) for mark in _MARKS):
            return found
    return []  # no mark up to the disk's top: nothing says where the project ends


def _holds(folder: str, name: str) -> bool:
    base = os.path.join(folder, name)
    return os.path.isfile(base + ".py") or os.path.isdir(base)
