"""What the project says of the files of a sweep, known before the first one is rewritten."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, TypeVar

from bncodemod.scan.index import EMPTY_INDEX, ProjectIndex
from bncodemod.scan.modules import ModuleMap, stem
from bncodemod.scan.prefilter import NORM_WORDS, may_hold_site
from bncodemod.settings import Configuration, Settings
from bncodemod.sweep.first_look import Seen, look_at_file, summarise_files, summary_of
from bncodemod.sweep.name_search import Wanted, matching, using
from bncodemod.sweep.project_files import MAX_AROUND, ProjectFiles, absolute
from bncodemod.sweep.worker import read

if TYPE_CHECKING:
    from bncodemod.scan.project import Project
    from bncodemod.scan.reading import Task
    from bncodemod.scan.summary import Summary
    from bncodemod.sweep.crew import Crew
    from bncodemod.sweep.norm_sources import NormSources
    from bncodemod.sweep.trail import Trail
    from bncodemod.sweep.uses import ProjectUses

Item = TypeVar("Item")
Result = TypeVar("Result")

# Below so many files another process is not worth its messages.
_FEW = 16


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
        self._configuration = configuration
        self._seen = {absolute(item.path): item for item in seen}
        self._files = ProjectFiles(named, self._seen, configuration)
        self._modules = ModuleMap(self._files)
        self._hiding: dict[str, str] = {}
        self._holding_modules: dict[str, bool] = {}
        self._project: Project | None = None
        seeds = list(self._seeds())
        if seeds:
            # The rest is heavy, and most files that a hook is given hold no site.
            from bncodemod.scan.project import Project
            from bncodemod.scan.reading import ProjectReader

            reader = ProjectReader(
                self._modules,
                self._summarise,
                self._using,
                self._leads,
                self._holds_modules,
                {path: item.stars for path, item in self._seen.items() if item.stars},
            )
            self._project = Project(
                reader,
                lambda path: configuration.for_path(path).keeps_batch_norm,
                self._hidden,
            )
            self._project.build(seeds)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of the project as a whole."""
        if self._files.too_many:
            return (
                f"the project has more than {MAX_AROUND} files beyond the named ones: none of them"
                " was searched for uses of what the named ones define",
            )
        return ()

    def index(self, path: str) -> ProjectIndex:
        """What a named file needs to know of the others."""
        path = absolute(path)
        known = self._index(path)
        if path in self._seen and self._seen[path].loads and self._settings(path).changes_weights:
            return replace(known, norm_source=self._norm_sources.of(path, known))
        return known

    def _settings(self, path: str) -> Settings:
        return self._configuration.for_path(path)

    def _index(self, path: str) -> ProjectIndex:
        known, settings = self._known(path), self._settings(path)
        if not settings.reads_uses:
            return known
        seen = self._seen.get(path) or look_at_file(path, summaries=False)
        data = self._contents.get(path) or read(path)
        if not isinstance(data, bytes):
            return known
        if not (
            (settings.patches and seen.is_rewritten(known))
            or (settings.reads_calls and (seen.transforms or self._uses.hands_on(path, data)))
        ):
            return known
        return replace(known, uses=self._uses.of(path, data, settings))

    def _known(self, path: str) -> ProjectIndex:
        """What a file needs to know of the others, but for what they do with its models."""
        return EMPTY_INDEX if self._project is None else self._project.index(path)

    @cached_property
    def _uses(self) -> ProjectUses:
        from bncodemod.sweep.uses import ProjectUses

        named = {path: item.candidate for path, item in self._seen.items()}
        paths = list(self._files.all())
        whole = not self._files.too_many
        return ProjectUses(
            named,
            paths,
            self._spread,
            self._contents,
            self._shown_of,
            whole,
            self._known,
            self._settings,
            self._modules,
        )

    @cached_property
    def _norm_sources(self) -> NormSources:
        from bncodemod.sweep.norm_sources import NormSources

        return NormSources(
            self._files,
            self._modules,
            self._changing,
            self._may_build,
            self._settings,
            self._index,
            self._shown_of,
        )

    def _may_build(self, path: str) -> bool:
        """Whether a file may build norms that are rewritten, by the first look at it."""
        item, settings = self._seen.get(path), self._settings(path)
        if item is None or not settings.keeps_batch_norm:
            return True
        return item.is_rewritten(self._known(path)) if settings.patches else item.candidate

    def _changing(self, path: str) -> bytes | None:
        """The bytes of a file that is rewritten where it has a site."""
        data = self._contents.get(path) or read(path)
        return data if isinstance(data, bytes) and not self._hidden(path) else None

    def _shown_of(self, path: str) -> str:
        item = self._seen.get(path)
        return item.path if item is not None else self._shown(path)

    def _seeds(self) -> Iterator[str]:
        yield from self._users_of_strays()
        for path, item in self._seen.items():
            if (
                item.summary is not None
                or item.candidate
                or item.transforms
                or (self._files.around and self._imports_norm(path))
            ):
                yield path

    def _hidden(self, path: str) -> str:
        """How a file is called that may build norms and is never rewritten; else nothing."""
        if path not in self._hiding:
            data = None if path.endswith("/") else self._unseen(path)
            hides = data is not None and may_hold_site(data, EMPTY_INDEX)
            ignored = hides and self._files.is_ignored(path)
            self._hiding[path] = self._shown(path) if ignored else ""
        return self._hiding[path]

    def _users_of_strays(self) -> Iterator[str]:
        """The named files without a norm that may import a file which no walk finds."""
        strays = () if self._files.around else self._files.strays()
        quiet = [path for path, item in self._seen.items() if item.summary is None]
        if strays and quiet:
            names = b"|".join(name.encode() for name in strays)
            pattern = re.compile(rb"\b(?:import|from)\b[^\n]*\b(?:%s)\b" % names)
            for _, found in self._batches(partial(matching, pattern=pattern), quiet):
                yield from filter(self._imports_norm, found)

    def _imports_norm(self, path: str) -> bool:
        """Whether a file that spells no norm may import one from outside the named files."""
        data = self._contents.get(path) or read(path)
        if not isinstance(data, bytes) or b"import" not in data:
            return False
        # Nearly every file imports something installed. In a project of many files, who does not
        # speak of sys.path finds all else nearby.
        nearby = b"sys.path" not in data and not self._files.are_few
        return self._trail.starts_in(path, data, nearby=nearby)

    @cached_property
    def _trail(self) -> Trail:
        # A file that imports nothing must not pay for it.
        from bncodemod.sweep.trail import Trail

        return Trail(self._modules, self._unseen)

    def _leads(self, path: str, name: str) -> bool:
        return self._trail.leads(path, name)

    def _holds_modules(self, path: str) -> bool:
        if path not in self._holding_modules:
            data = self._contents.get(path) or read(path)
            found = isinstance(data, bytes) and self._trail.imports_modules(path, data)
            self._holding_modules[path] = found
        return self._holding_modules[path]

    def _unseen(self, path: str) -> bytes | None:
        """The bytes of a file that is not among the named ones."""
        data = None if path in self._seen else read(path)
        return data if isinstance(data, bytes) else None

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
                yield task.path, summary_of(self._contents[task.path], item.path, task)
            else:
                left.append((item.path if item else self._shown(task.path), task))
        for (_, task), summary in self._spread(summarise_files, left):
            yield task.path, summary

    def _using(self, names: frozenset[tuple[str, str]]) -> Iterator[str]:
        """The files not read yet that may use names, each of which stands beside its module."""
        # The named files that spell a norm have been read.
        unread = [path for path, item in self._seen.items() if item.summary is None]
        yield from self._users(names, unread, skipped=NORM_WORDS)
        yield from self._users(names, list(self._files.outside))

    def _users(
        self, names: Iterable[tuple[str, str]], paths: list[str], skipped: tuple[str, ...] = ()
    ) -> Iterator[str]:
        modules: dict[bytes, set[bytes]] = defaultdict(set)
        of_packages = set()
        for name, path in names:
            if not any(part in name for part in skipped):
                modules[name.encode()].add(stem(path).encode())
                if path.endswith("/__init__.py"):
                    of_packages.add(name.encode())
        wanted = Wanted(
            {name: tuple(sorted(found)) for name, found in modules.items()},
            frozenset(of_packages),
            frozenset(stem(path).encode() for _, path in names),
        )
        if paths and wanted.modules:
            for _, found in self._batches(partial(using, wanted=wanted), paths):
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
