"""Which file of a project builds the norms of a model that another file loads weights into."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache, cached_property

from bncodemod.scan.index import EMPTY_INDEX, NormSource, ProjectIndex
from bncodemod.scan.modules import AMBIGUOUS, ModuleMap
from bncodemod.scan.outline import Imported, Outline
from bncodemod.settings import Settings
from bncodemod.sweep.guard import is_risky
from bncodemod.sweep.project_files import ProjectFiles, project_root

# What imports more files than this is part of all of its project.
_MAX_IMPORTED = 200


class NormSources:
    """Looks for files that build norms which are rewritten: first among what a file imports.

    ``read`` gives the bytes of a file, None where it cannot be read or is not to be rewritten;
    ``settings`` and ``index`` are those of a file, and ``shown`` how it is called in what is said
    of it.
    """

    def __init__(
        self,
        files: ProjectFiles,
        modules: ModuleMap,
        read: Callable[[str], bytes | None],
        settings: Callable[[str], Settings],
        index: Callable[[str], ProjectIndex],
        shown: Callable[[str], str],
    ) -> None:
        self._files = files
        self._modules = modules
        self._read = read
        self._settings = settings
        self._index = index
        self._shown = shown
        self._outlines: dict[str, Outline] = {}
        self._leading_to: dict[str, bool] = {}
        self._known: dict[str, bool] = {}
        self._imported: dict[str, tuple[str, ...]] = {}

    def of(self, path: str) -> NormSource:
        """What builds the norms of what a file imports, or of the models that it may be handed."""
        if self._builds(path):
            return NormSource()  # it speaks for itself
        classes: set[str] = set()
        for number, other in enumerate(self._reached(path)):
            if self._builds(other):
                return NormSource(imported=self._shown(other), leading=self._leading(path))
            if number == _MAX_IMPORTED:
                classes.clear()
                break
            classes.update(self._outline(other).classes)
        others = (other for other in self._by_root[_root(path)] if other != path)
        found = next(filter(self._builds, others), "")
        if not found:
            return NormSource()
        return NormSource(anywhere=self._shown(found), without=frozenset(classes))

    @cached_property
    def _by_root(self) -> dict[str, list[str]]:
        """All files, in their order, by the projects that they are part of."""
        found: dict[str, list[str]] = defaultdict(list)
        for path in sorted(self._files.all()):
            found[_root(path)].append(path)
        return found

    def _builds(self, path: str) -> bool:
        """Whether a file builds models that checkpoints from before its rewrite do not fit."""
        if path not in self._known:
            data = self._read(path)
            is_read = data is not None and not is_risky(data)
            self._known[path] = is_read and self._changes_state_dicts(path, data or b"")
        return self._known[path]

    def _changes_state_dicts(self, path: str, data: bytes) -> bool:
        from bncodemod.core import changes_state_dicts

        settings = self._settings(path)
        index = self._index(path) if settings.patches else EMPTY_INDEX
        try:
            return changes_state_dicts(data, settings, index)
        except Exception:  # it is said of the file itself, which is not rewritten
            return False

    def _leading(self, path: str) -> frozenset[str]:
        """The names by which a file imports what leads to a file that builds norms."""
        return frozenset(
            local
            for local, item in self._outline(path).imports
            if any(map(self._leads, self._imported_by(path, local, item)))
        )

    def _leads(self, path: str) -> bool:
        if path not in self._leading_to:
            found = (self._builds(other) for other in self._reached(path))
            self._leading_to[path] = any(found)
        return self._leading_to[path]

    def _reached(self, path: str) -> Iterator[str]:
        """A file and what it imports, nearest first."""
        seen = {path}
        todo = [path]
        for current in todo:
            yield current
            for other in self._imports(current):
                if other not in seen:
                    seen.add(other)
                    todo.append(other)

    def _outline(self, path: str) -> Outline:
        if path not in self._outlines:
            self._outlines[path] = Outline(self._read(path) or b"")
        return self._outlines[path]

    def _imports(self, path: str) -> tuple[str, ...]:
        if path not in self._imported:
            outline = self._outline(path)
            imports = (*outline.imports, *(("", item) for item in outline.called))
            found = (f for local, item in imports for f in self._imported_by(path, local, item))
            self._imported[path] = tuple(dict.fromkeys(found))
        return self._imported[path]

    def _imported_by(self, path: str, local: str, item: Imported) -> Iterator[str]:
        """The files that one import may mean."""
        for target in self._meant(path, item):
            if not target.endswith("/"):
                yield target
            for chain in [(item.name,)] if item.name else self._outline(path).chains(local):
                yield from self._below(target, chain)

    def _below(self, package: str, chain: tuple[str, ...]) -> Iterator[str]:
        """The modules that a chain of names leads to in a package."""
        for name in chain:
            found = self._modules.submodule(package, name)
            if found is None:
                return
            if not found.endswith("/"):
                yield found
            package = found

    def _meant(self, path: str, item: Imported) -> list[str]:
        found = self._modules.resolve(path, item.module, item.level)
        if found == AMBIGUOUS:
            return self._modules.candidates(item.module)
        return [] if found is None else [found]


def _root(path: str) -> str:
    return _root_of_folder(path.rpartition("/")[0])


@cache
def _root_of_folder(folder: str) -> str:
    return project_root(folder)
