"""Which file of a project an import statement means."""

from __future__ import annotations

import posixpath
import sys
from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from typing import Protocol

# Modules that are never taken for a project file of the same name that lies somewhere else.
INSTALLED = frozenset({"numpy", "timm", "torch", "torchvision"})

# What is not one file: which of several is imported depends on how the program is started.
AMBIGUOUS = ""


def stem(path: str) -> str:
    """What an import calls the module of a file, last of all."""
    return path.removesuffix("/__init__.py").rpartition("/")[2].removesuffix(".py")


class Files(Protocol):
    """Where a project's files are; paths are absolute, with forward slashes."""

    def is_file(self, path: str) -> bool:
        """Whether there is such a file."""

    def is_folder(self, path: str) -> bool:
        """Whether there is such a folder in the project."""

    def all(self) -> Iterable[str]:
        """Every Python file of the project; asked for only if nothing nearer helps."""


class ModuleMap:
    """The modules that a project's files make up.

    A folder without an ``__init__.py`` is a namespace package; it is named by its path with a slash
    at the end.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._roots: dict[str, tuple[str, ...]] = {}
        self._known: dict[tuple[str, str, int], str | None] = {}

    def resolve(
        self, importer: str, module: str, level: int, *, nearby: bool = False
    ) -> str | None:
        """The file or namespace package that ``module`` names in the file ``importer``.

        ``level`` counts the leading dots. None: not in the project. ``AMBIGUOUS``: several files
        have that name, and which one is imported depends on how the program is started.

        An absolute name is looked for where Python would find it: beside a script, in the folder
        that holds the importer's outermost package, in the folders above. What is found in none of
        them may be on ``sys.path`` by other means: then the only place in the project that has it,
        unless ``nearby`` is set.
        """
        folder = importer.rpartition("/")[0]  # posixpath.dirname costs more than all the rest
        key = folder, module, level
        if key not in self._known:
            found = self._nearby(folder, module, level)
            if found is None and not level:
                if nearby:
                    return None
                found = self._elsewhere(module)
            self._known[key] = found
        return self._known[key]

    def _elsewhere(self, module: str) -> str | None:
        """The only place in the project that has a module."""
        top = module.partition(".")[0]
        if top in INSTALLED or top in sys.stdlib_module_names:
            return None
        found = self.candidates(module)
        if len(found) > 1:
            return AMBIGUOUS
        return found[0] if found else None

    def _nearby(self, folder: str, module: str, level: int) -> str | None:
        parts = module.split(".") if module else []
        if level:
            for _ in range(level - 1):
                folder = posixpath.dirname(folder)
            return self._at(folder, parts)
        roots = self._roots_of(folder)
        if parts[0] in INSTALLED:
            return self._shadow(roots, parts)
        namespace = None
        for root in roots:
            found = self._at(root, parts)
            if found is not None:
                if not found.endswith("/"):
                    return found
                namespace = namespace or found  # a module further on comes first
        return namespace

    def candidates(self, module: str) -> list[str]:
        """Every file of the project that an absolute name may mean."""
        parts = module.split(".")
        found = (self._at(root, parts) for root in self._tops.get(parts[0], ()))
        return sorted({path for path in found if path is not None})

    def submodule(self, package: str, name: str) -> str | None:
        """The module ``name`` of a package, given by its ``__init__.py`` or as a namespace."""
        if not package.endswith(("/", "/__init__.py")):
            return None
        return self._at(posixpath.dirname(package), [name])

    def _at(self, folder: str, parts: list[str]) -> str | None:
        base = posixpath.join(folder, *parts)
        for path in (f"{base}/__init__.py", f"{base}.py") if parts else (f"{base}/__init__.py",):
            if self._files.is_file(path):
                return path
        return f"{base}/" if self._files.is_folder(base) else None

    def _roots_of(self, folder: str) -> tuple[str, ...]:
        """Where absolute names are looked for from a folder, in Python's order."""
        if folder not in self._roots:
            inside: list[str] = []
            current = folder
            while self._is_package(current):
                inside.append(current)
                current = posixpath.dirname(current)
            outside = [current]
            while self._files.is_folder(current := posixpath.dirname(current)):
                outside.append(current)
            # A file of a package that is run as a script finds its neighbours as well.
            self._roots[folder] = (*outside, *inside[:1])
        return self._roots[folder]

    @cached_property
    def _tops(self) -> dict[str, tuple[str, ...]]:
        """The folders outside all packages by the names of the modules that lie in them."""
        found: dict[str, set[str]] = defaultdict(set)
        for path in self._files.all():
            root, name = self._top(path)
            found[name].add(root)
        return {name: tuple(sorted(roots)) for name, roots in found.items()}

    def _top(self, path: str) -> tuple[str, str]:
        """The folder outside all packages above a file, and the name of what lies there."""
        folder, name = posixpath.split(path.removesuffix(".py"))
        if name == "__init__":
            folder, name = posixpath.split(folder)
        while self._is_package(folder):
            folder, name = posixpath.split(folder)
        return folder, name

    def _is_package(self, folder: str) -> bool:
        return self._files.is_file(f"{folder}/__init__.py")

    def _shadow(self, roots: tuple[str, ...], parts: list[str]) -> str | None:
        """A module of the project that hides an installed one: beside the script or the package.

        Not torch itself, where it is what is swept: its names are known.
        """
        root = roots[0]
        top = self._at(root, parts[:1])
        if top is None or top.endswith("/"):
            return None
        if self._files.is_file(f"{root}/torch/nn/modules/batchnorm.py"):
            return None
        return self._at(root, parts)
