"""Which files the projects of the named paths are made of."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cached_property

from bncodemod.model import FileError
from bncodemod.settings import Configuration
from bncodemod.sweep.walk import SUFFIXES, Ignored, walk

# Files of the project beyond the named ones that are looked at for uses of a name.
MAX_AROUND = 20_000
# Of a project with more folders a hook does not look at all files to find one by its name.
MAX_FOLDERS = 300
_ROOT_MARKS = ("pyproject.toml", "setup.py", "setup.cfg")


class ProjectFiles:
    """The files of the projects that the named paths belong to, looked up on the disk."""

    def __init__(
        self,
        named: Sequence[str | os.PathLike[str]],
        seen: Iterable[str],
        configuration: Configuration,
    ) -> None:
        self._seen = frozenset(seen)
        self._configuration = configuration
        folders = {absolute(path) for path in named if os.path.isdir(path)}
        self._roots = sorted({project_root(absolute(path)) for path in named})
        self.around = any(
            not any(f"{root}/".startswith(f"{folder}/") for folder in folders)
            for root in self._roots
        )
        self._ignored = Ignored(
            self._roots,
            exclude=(*configuration.exclude, *configuration.extend_exclude),
            root=configuration.root,
        )
        self.too_many = False  # known once they have been looked for
        self._listed: dict[str, frozenset[str]] = {}
        self._folders: dict[str, bool] = {}

    def is_file(self, path: str) -> bool:
        """Whether there is such a file."""
        folder, _, name = path.rpartition("/")
        listed = self._listed.get(folder)
        if listed is None:
            try:
                listed = frozenset(os.listdir(folder)) if self.is_folder(folder) else frozenset()
            except OSError:
                listed = frozenset()
            self._listed[folder] = listed
        return name in listed

    def is_folder(self, path: str) -> bool:
        """Whether there is such a folder in one of the projects."""
        if path not in self._folders:
            inside = any(f"{path}/".startswith(f"{root}/") for root in self._roots)
            self._folders[path] = inside and os.path.isdir(path)
        return self._folders[path]

    def all(self) -> Iterable[str]:
        """Every Python file of the projects."""
        return (*self._seen, *self.outside)

    @cached_property
    def are_few(self) -> bool:
        """Whether all folders of the projects can be looked through in a few milliseconds."""
        todo = list(self._roots)
        for _ in range(MAX_FOLDERS):
            if not todo:
                return True
            with suppress(OSError), os.scandir(todo.pop()) as entries:
                todo += [
                    entry.path
                    for entry in entries
                    if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
                ]
        return False

    def is_ignored(self, path: str) -> bool:
        """Whether a walk of the whole project leaves a file out."""
        return path not in self._seen and self._ignored.covers(path)

    def strays(self) -> tuple[str, ...]:
        """The names of modules beside the named files that no walk has found."""
        folders = {os.path.dirname(path) for path in self._seen}
        todo = list(folders)
        while todo:
            folder = os.path.dirname(todo.pop())
            if folder not in folders and self.is_folder(folder):
                folders.add(folder)
                todo.append(folder)
        found = set()
        for folder in folders:
            with suppress(OSError), os.scandir(folder) as entries:
                for entry in entries:
                    name = entry.name.removesuffix(".py")
                    path = f"{folder}/{entry.name}"
                    if name.isidentifier() and path not in self._seen and path not in folders:
                        if name != entry.name or _holds_modules(path):
                            found.add(name)
        return tuple(sorted(found - {"__init__", "__pycache__"}))

    @cached_property
    def outside(self) -> tuple[str, ...]:
        """The files of the projects that were not named; none where they are too many."""
        if not self.around:
            return ()
        found = walk(
            self._roots,
            exclude=self._configuration.exclude,
            extend_exclude=self._configuration.extend_exclude,
            force_exclude=False,
            root=self._configuration.root,
        )
        paths = (absolute(item) for item in found if not isinstance(item, FileError))
        outside = tuple(path for path in paths if path not in self._seen)
        self.too_many = len(outside) > MAX_AROUND
        return () if self.too_many else outside


def absolute(path: str | os.PathLike[str]) -> str:
    """A path as the project knows it: absolute, with forward slashes."""
    return os.path.abspath(path).replace(os.sep, "/")


def project_root(path: str) -> str:
    """The folder of the project that a path belongs to.

    The repository's top; without one the nearest folder with a pyproject.toml or setup file, else
    the outermost package, or the folder itself: what lies beside them may be anything.
    """
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    package = folder
    while os.path.exists(f"{os.path.dirname(package)}/__init__.py"):
        package = os.path.dirname(package)
    marked = ""
    current = folder
    while True:
        if os.path.lexists(f"{current}/.git"):
            return current
        if not marked and any(os.path.exists(f"{current}/{mark}") for mark in _ROOT_MARKS):
            marked = current
        parent = os.path.dirname(current)
        if parent == current:
            return marked or package
        current = parent


def _holds_modules(folder: str) -> bool:
    """Whether there is Python in a folder, or in one of those in it."""
    try:
        with os.scandir(folder) as entries:
            listed = list(entries)
    except OSError:
        return False
    if any(entry.name.endswith(SUFFIXES) for entry in listed):
        return True
    return any(
        name.endswith(SUFFIXES)
        for entry in listed
        if entry.name.isidentifier() and entry.is_dir(follow_symlinks=False)
        for name in os.listdir(entry.path)
    )
