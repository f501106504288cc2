"""Which files of a project are read, and what their names are linked to so far."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from bncodemod.scan.index import EMPTY_INDEX, ProjectIndex
from bncodemod.scan.lineage import Lineage
from bncodemod.scan.linking import Linker
from bncodemod.scan.modules import ModuleMap
from bncodemod.scan.resolving import Resolver
from bncodemod.scan.summary import Request, Summary
from bncodemod.scan.targets import File, Symbol, Unread

# A value or a name that passes through more files than this is not followed to its end.
MAX_ROUNDS = 100


@dataclass(frozen=True, slots=True)
class Task:
    """A file to summarise, and what to ask it."""

    path: str
    requests: tuple[Request, ...] = ()
    index: ProjectIndex = EMPTY_INDEX


Summarise = Callable[[list[Task]], Iterable[tuple[str, Summary | None]]]
Find = Callable[[frozenset[tuple[str, str]]], Iterable[str]]


class ProjectReader:
    """Reads the files of a project as names and values lead to them.

    ``summarise`` summarises files, ``find`` gives the files that may use names, each of the module
    beside it. ``may_export`` says whether a name of a file that was not read (``*``: any) may mean
    a norm, ``holds_modules`` whether other modules of the project may be read from one.
    ``stars`` holds the star imports, as ``..package.module``, of files that hold nothing else.
    """

    def __init__(
        self,
        modules: ModuleMap,
        summarise: Summarise,
        find: Find,
        may_export: Callable[[str, str], bool],
        holds_modules: Callable[[str], bool],
        stars: Mapping[str, tuple[str, ...]],
    ) -> None:
        self._modules = modules
        self.summarise = summarise
        self._find = find
        self._may_export = may_export
        self._holds_modules = holds_modules
        self._searched: set[tuple[str, str]] = set()
        self.files = {path: File.of_stars(found) for path, found in stars.items()}
        self.paths: set[str] = set()  # of the files that were read
        self.given_back: dict[str, set[str]] = defaultdict(set)
        self.linker = Linker(modules, self.files, self.given_back)

    @property
    def lineage(self) -> Lineage:
        """How the classes read so far derive from one another."""
        return Lineage(self.resolver, self.files)

    @property
    def resolver(self) -> Resolver:
        """What the names of the files read so far stand for."""
        return self.linker.resolver

    def read(self, paths: Iterable[str]) -> bool:
        """Read the files that have not been read; False where there is none."""
        wanted = sorted(set(paths) - self.paths)
        self.paths.update(wanted)
        if wanted:
            self.take(self.summarise([Task(path) for path in wanted]))
        return bool(wanted)

    def take(self, summaries: Iterable[tuple[str, Summary | None]]) -> None:
        """Take files in, or what is known now of files that were read before."""
        linked = True
        for path, summary in summaries:
            file = File(summary or Summary())
            linked = path not in self.files and linked and self.linker.add(path, file)
            self.paths.add(path)
            self.files[path] = file
        self.link(anew=not linked)

    def link(self, anew: bool) -> None:
        """Link the names of the files read so far, from the beginning if ``anew``."""
        if anew:
            self.linker = Linker(self._modules, self.files, self.given_back)
        for path in sorted(self.paths & self.files.keys()):
            self.linker.names(path)

    def read_for_names(self) -> bool:
        """Read the files through which the names known so far pass; False where none is left."""
        missing = {
            target.path
            for path, unread in self.linker.unread.items()
            for item, target in unread
            if (item.local or item.spelled) in self.files[path].summary.roots
            or (item.name == "*" and self.files[path].has_free_roots)
            or (item.name != "*" and target.name == "*" and self._holds_modules(target.path))
            or self._may_export(target.path, target.name)
        }
        missing |= {
            base.path
            for target in self.derived_classes()
            for targets in self.lineage.bases(target)
            for base in targets
            if isinstance(base, Unread)
        }
        words = frozenset(self.resolver.words()) - self._searched
        self._searched |= words
        return self.read(missing | set(self._find(words) if words else ()))

    def read_again(self) -> None:
        """Read anew, with what is known now, the files whose norms come from other files."""
        tasks = []
        for path in sorted(self.paths):
            index = self.linker.names(path)
            if any(index.norm(target) for target in index.names.values()):
                tasks.append(Task(path, index=index))
        if tasks:
            self.take(self.summarise(tasks))

    def derived_classes(self) -> Iterator[Symbol]:
        """The classes of the files read so far that derive from a norm."""
        for path in sorted(self.paths & self.files.keys()):
            for name in self.files[path].summary.classes:
                target = Symbol(path, name)
                if self.resolver.derived(target) is not None:
                    yield target
