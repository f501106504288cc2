"""Pass one of a sweep: which files may hold a site, and what their project says of them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, TypeVar

from bncodemod.model import FileError, FileResult
from bncodemod.scan.index import EMPTY_INDEX, ProjectIndex
from bncodemod.scan.modules import AMBIGUOUS, ModuleMap
from bncodemod.scan.prefilter import may_hold_site
from bncodemod.settings import Configuration
from bncodemod.sweep.walk import walk
from bncodemod.sweep.worker import failed, internal_error, paused_gc, read

if TYPE_CHECKING:
    from bncodemod.scan.project import Project, Task
    from bncodemod.scan.summary import Summary
    from bncodemod.sweep.crew import Crew

Item = TypeVar("Item")
Result = TypeVar("Result")

# Files of the project beyond the named ones that are looked at for uses of a name.
MAX_AROUND = 20_000
# Below so many files another process is not worth its messages.
_FEW = 16
_ROOT_MARKS = ("pyproject.toml", "setup.py", "setup.cfg")
_STAR = re.compile(rb"\bimport\s*\(?\s*\*")
_IMPORT = re.compile(
    rb"(?:^|[;:])[ \t]*from[ \t]+([.\w]+)[ \t]+import\b[ \t]*(\([^)]*\)|(?:\\\n|[^\n#])*)",
    re.MULTILINE,
)
_PLAIN_IMPORT = re.compile(rb"(?:^|[;:])[ \t]*import[ \t]+([.\w]+)", re.MULTILINE)
_WORD = re.compile(rb"\w+|\*")


@dataclass(frozen=True, slots=True)
class Seen:
    """One file at first sight: what is wrong with it, or whether it may hold a site."""

    path: str
    failed: FileResult | None = None
    candidate: bool = False
    size: int = 0
    stars: tuple[str, ...] = ()
    summary: Summary | None = None


def look(paths: Sequence[str], *, summaries: bool) -> list[Seen]:
    """Read files; with ``summaries``, summarise those that others may have to know of."""
    return [_look(path, summaries) for path in paths]


def _look(path: str, summaries: bool) -> Seen:
    data = read(path)
    if isinstance(data, FileResult):
        return Seen(path, failed=data)
    return look_at(data, path, summaries=summaries)


def look_at(data: bytes, path: str, *, summaries: bool) -> Seen:
    """Look at the bytes of one file."""
    candidate = may_hold_site(data, EMPTY_INDEX)
    if not summaries:
        return Seen(path, None, candidate, len(data))
    if candidate:
        try:
            return Seen(path, None, candidate, len(data), (), _summary(data, path))
        except Exception as error:  # a bug: this file must not end the sweep
            return Seen(path, failed(path, internal_error(error)))
    stars: tuple[str, ...] = ()
    if b"*" in data and _STAR.search(data):
        stars = tuple(module for module, names in imports(data) if names == ("*",))
    return Seen(path, None, candidate, len(data), stars)


def summarise_files(tasks: Sequence[tuple[str, Task]]) -> list[Summary | None]:
    """The summaries of files, each given with the name under which it is spoken of."""
    found: list[Summary | None] = []
    for shown, task in tasks:
        data = read(task.path)
        summary = None
        # What fails here has been summarised before, or is not to be rewritten: then it is unknown.
        with suppress(Exception):
            summary = _summary(data, shown, task) if isinstance(data, bytes) else None
        found.append(summary)
    return found


def _summary(data: bytes, path: str, task: Task | None = None) -> Summary | None:
    from bncodemod.core import MAX_BYTES
    from bncodemod.scan.summary import summarise

    if len(data) > MAX_BYTES:
        return None
    with paused_gc():
        if task is None:
            return summarise(data, path)
        return summarise(data, path, task.requests, task.index)


def having(
    paths: Sequence[str], *, words: re.Pattern[bytes], parts: tuple[bytes, ...]
) -> list[str]:
    """The files in which one of the words stands; ``parts`` are the words for a quick look."""
    found = []
    for path in paths:
        data = read(path)
        if isinstance(data, bytes) and any(part in data for part in parts) and words.search(data):
            found.append(path)
    return found


class Survey:
    """The project of the named files, read as far as they need it.

    ``contents`` holds what counts instead of what stands on the disk, by path: standard input.
    """

    def __init__(
        self,
        named: Sequence[str | os.PathLike[str]],
        seen: Sequence[Seen],
        configuration: Configuration,
        crew: Crew | None,
        contents: Mapping[str, bytes] | None = None,
    ) -> None:
        self._contents = {absolute(path): data for path, data in (contents or {}).items()}
        self._crew = crew
        self._seen = {absolute(item.path): item for item in seen}
        self._files = ProjectFiles(named, self._seen, configuration)
        self._modules = ModuleMap(self._files)
        self._exports: dict[tuple[str, str], bool] = {}
        self._project: Project | None = None
        seeds = list(self._seeds())
        if seeds:
            # The rest is heavy, and most files that a hook is given hold no site.
            from bncodemod.scan.project import Project

            self._project = Project(
                self._modules,
                self._summarise,
                self._having,
                self._may_export,
                lambda path: configuration.for_path(path).keeps_batch_norm,
                {path: item.stars for path, item in self._seen.items() if item.stars},
            )
            self._project.build(seeds)

    def index(self, path: str) -> ProjectIndex:
        """What a named file needs to know of the others."""
        return EMPTY_INDEX if self._project is None else self._project.index(absolute(path))

    def _seeds(self) -> Iterator[str]:
        for path, item in self._seen.items():
            if (
                item.summary is not None
                or item.candidate
                or (self._files.around and self._imports_norm(path))
            ):
                yield path

    def _imports_norm(self, path: str) -> bool:
        """Whether a file that spells no norm may import one from outside the named files."""
        data = self._contents.get(path) or read(path)
        if not isinstance(data, bytes):
            return False
        # Nearly every file imports something installed: who does not speak of sys.path finds all
        # else nearby.
        nearby = b"sys.path" not in data
        for module, names in imports(data):
            dotted = module.lstrip(".")
            level = len(module) - len(dotted)
            target = self._modules.resolve(path, dotted, level, nearby=nearby)
            targets = self._modules.candidates(dotted) if target == AMBIGUOUS else [target]
            if any(self._may_hold(t, name) for t in targets if t for name in names):
                return True
        modules = (name.decode("utf-8", "replace") for name in _PLAIN_IMPORT.findall(data))
        found = (self._modules.resolve(path, module, 0, nearby=nearby) for module in modules)
        return any(self._may_export(target, "*") for target in found if target)

    def _may_hold(self, module: str, name: str) -> bool:
        submodule = self._modules.submodule(module, name)
        return self._may_export(submodule or module, "*" if submodule else name)

    def _may_export(self, path: str, name: str) -> bool:
        """Whether a file outside the named ones may bind ``name`` to a norm, by its bytes."""
        if path in self._seen or path.endswith("/"):
            return False
        key = path, name
        if key not in self._exports:
            data = read(path)
            self._exports[key] = isinstance(data, bytes) and (
                may_hold_site(data, EMPTY_INDEX)
                or any(name in names or "*" in names for _, names in imports(data))
            )
        return self._exports[key]

    def _summarise(self, tasks: list[Task]) -> Iterator[tuple[str, Summary | None]]:
        left = []
        for task in tasks:
            item = self._seen.get(task.path)
            if (
                item is not None
                and item.summary is not None
                and not (task.requests or task.index.names)
            ):
                yield task.path, item.summary
            elif task.path in self._contents and item is not None:
                yield task.path, _summary(self._contents[task.path], item.path, task)
            else:
                left.append((item.path if item else self._shown(task.path), task))
        for (_, task), summary in self._spread(summarise_files, left):
            yield task.path, summary

    def _having(self, words: frozenset[str]) -> Iterator[str]:
        # The named files that spell a norm have been read.
        quiet = {word for word in words if "BatchNorm" not in word and "InstanceNorm" not in word}
        unread = [path for path, item in self._seen.items() if item.summary is None]
        for wanted, paths in ((quiet, unread), (words, list(self._files.outside))):
            if wanted and paths:
                parts = tuple(word.encode() for word in sorted(wanted))
                pattern = re.compile(rb"\b(?:" + b"|".join(map(re.escape, parts)) + rb")\b")
                search = partial(having, words=pattern, parts=parts)
                for _, found in self._batches(search, paths):
                    yield from found

    def _spread(
        self, function: Callable[[list[Item]], list[Result]], items: list[Item]
    ) -> Iterator[tuple[Item, Result]]:
        for batch, results in self._batches(function, items):
            yield from zip(batch, results, strict=True)

    def _batches(
        self, function: Callable[[list[Item]], list[Result]], items: list[Item]
    ) -> Iterator[tuple[list[Item], list[Result]]]:
        """Work here, or in the worker processes if there are any and the work is worth it."""
        if self._crew is None or len(items) < _FEW:
            yield items, function(items)
            return
        size = max(_FEW, len(items) // 16)
        batches = [items[at : at + size] for at in range(0, len(items), size)]
        for batch, results in self._crew.map(function, batches):
            if results is not None:
                yield batch, results

    def _shown(self, path: str) -> str:
        relative = os.path.relpath(path)
        return path if relative.startswith(os.pardir) else relative


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
        return outside if len(outside) <= MAX_AROUND else ()


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


def imports(data: bytes) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The from-imports of a file by a look at its bytes: module with its dots, names."""
    for found in _IMPORT.finditer(data):
        module = found[1].decode("utf-8", "replace")
        yield module, tuple(word.decode("utf-8", "replace") for word in _WORD.findall(found[2]))
