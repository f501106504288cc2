"""Which file of a project builds the norms of a model that another file loads weights into."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, cached_property, partial
from itertools import islice

from bncodemod.scan.definitions import Definitions, Use, uses_in
from bncodemod.scan.index import EMPTY_INDEX, NormSource, ProjectIndex
from bncodemod.scan.modules import AMBIGUOUS, ModuleMap
from bncodemod.scan.outline import Imported, Outline
from bncodemod.scan.prefilter import may_hold_site
from bncodemod.settings import Settings
from bncodemod.sweep.guard import is_risky
from bncodemod.sweep.project_files import ProjectFiles, project_root

# How many of the files that one leads to are looked at where its own project builds no norms.
_MAX_IMPORTED = 200
# Of more definitions it is not known what they lead to.
_MAX_FOLLOWED = 5000
# By what a function may get at any class.
_LOOK_UPS = frozenset({"__import__", "eval", "getattr", "globals", "import_module", "importlib"})
# The name of all that a module has.
_WHOLE = "*"


class NormSources:
    """Looks for files that build norms which are rewritten, by the names that lead to them.

    ``read`` gives the bytes of a file, None where it cannot be read or is not to be rewritten;
    ``may_build`` says whether it may build norms, by what is known of it without reading it;
    ``settings`` and ``index`` are those of a file, and ``shown`` how it is called in what is said
    of it.
    """

    def __init__(
        self,
        files: ProjectFiles,
        modules: ModuleMap,
        read: Callable[[str], bytes | None],
        may_build: Callable[[str], bool],
        settings: Callable[[str], Settings],
        index: Callable[[str], ProjectIndex],
        shown: Callable[[str], str],
    ) -> None:
        self._files = files
        self._modules = modules
        self._read = read
        self._may_build = may_build
        self._settings = settings
        self._index = index
        self._shown = shown
        self._outlines: dict[str, Outline] = {}
        self._definitions: dict[str, Definitions | None] = {}
        self._unread: set[str] = set()
        self._of_folder: dict[str, str] = {}
        self._known: dict[str, bool] = {}
        self._imported: dict[str, tuple[str, ...]] = {}

    def of(self, path: str, known: ProjectIndex) -> NormSource:
        """What builds the norms of the models that a file loads weights into.

        ``known`` is what the file needs to know of the others, but for this.
        """
        data = self._read(path)
        if data is None or is_risky(data):
            return NormSource(otherwise=self._anywhere(path))
        from bncodemod.core import loaded_makers

        try:
            makers = loaded_makers(data, self._settings(path), known)
        except Exception:  # a bug, or a file that is too deep: that is said of the file itself
            return NormSource(otherwise=self._anywhere(path))
        leading = {name: self._source(path, name) for name in sorted(makers) if name}
        return NormSource(leading, self._anywhere(path) if "" in makers else "")

    def _source(self, path: str, maker: str) -> str:
        try:
            found = self._followed(path, maker)
        except RecursionError:  # of a long chain of operators
            found = None
        return self._anywhere(path) if found is None else self._shown(found) if found else ""

    def _anywhere(self, path: str) -> str:
        """A file that builds norms: of the same project, else one that the file leads to."""
        folder = path.rpartition("/")[0]
        if folder not in self._of_folder:
            self._of_folder[folder] = next(filter(self._builds, self._around(folder)), "")
        found = self._of_folder[folder]
        if not found:
            found = next(filter(self._builds, islice(self._reached(path), _MAX_IMPORTED)), "")
        return self._shown(found) if found else ""

    def _around(self, folder: str) -> Iterator[str]:
        """The files of a project, those first that are nearest to a folder of it."""
        files = self._by_root[_root_of_folder(folder)]
        while folder:
            yield from (file for file in files if file.startswith(f"{folder}/"))
            folder = folder.rpartition("/")[0]
        yield from files

    def _followed(self, path: str, maker: str) -> str | None:
        """The file with the norms that a name leads to; empty if to none, None if unknown."""
        todo = [(path, Use(maker))]
        seen = set(todo)
        for at, (place, use) in enumerate(todo):
            steps = None if at == _MAX_FOLLOWED else self._steps(place, use, is_first=at == 0)
            if steps is None:
                return None
            for step in steps:
                if step not in seen:
                    seen.add(step)
                    todo.append(step)
            if any(map(partial(self._holds_norm, place), self._defined(place, use))):
                return place
        return ""

    def _defined(self, path: str, use: Use) -> list[ast.stmt]:
        definitions = self._definitions_of(path)
        return definitions.of(use) if definitions is not None else []

    def _steps(self, path: str, use: Use, *, is_first: bool) -> list[tuple[str, Use]] | None:
        """Where what a name stands for leads next; None if that cannot be told."""
        if self._definitions_of(path) is None:
            return None
        nodes = self._defined(path, use)
        if nodes or use.name == _WHOLE:
            uses = [used for node in nodes for used in uses_in(node)]
            if use.name == _WHOLE:
                uses += map(Use, self._outline(path).by_local)
            if any(used.name.partition(".")[0] in _LOOK_UPS for used in uses):
                return None
            return [(path, used) for used in dict.fromkeys(uses) if self._has(path, used)]
        outline = self._outline(path)
        items = outline.by_local.get(use.name.partition(".")[0], [])
        steps = [step for item in items for step in self._imported_use(path, use, item)]
        if any(not self._has(*step) for step in steps):
            return None
        if not items:
            # What each star may bring in; a name without a meaning is a local one, or built in.
            steps = [
                (target, use)
                for item in outline.stars
                for target in self._meant(path, item)
                if not target.endswith("/")
            ]
        return None if is_first and not steps else steps

    def _has(self, path: str, use: Use) -> bool:
        """Whether a name means something in a module, as far as is seen; so with an unread one."""
        outline = self._outline(path)
        return (
            use.name == _WHOLE
            or bool(outline.stars)
            or self._binds(path, use.name.partition(".")[0])
            or path in self._unread
        )

    def _binds(self, path: str, name: str) -> bool:
        definitions = self._definitions_of(path)
        is_defined = definitions is not None and definitions.has(name)
        return is_defined or name in self._outline(path).by_local

    def _definitions_of(self, path: str) -> Definitions | None:
        """None for a file that cannot be parsed."""
        if path not in self._definitions:
            data = self._read(path)
            if data is None:
                self._unread.add(path)
                data = b""
            try:
                self._definitions[path] = None if is_risky(data) else Definitions(data)
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                self._definitions[path] = None
        return self._definitions[path]

    def _holds_norm(self, path: str, node: ast.stmt) -> bool:
        settings, definitions = self._settings(path), self._definitions_of(path)
        if definitions is None:
            return False
        # What is patched may be built by words that speak of no norm.
        if not settings.patches or settings.strategy == "auto":
            text = definitions.text(node)
            is_group_norm = not settings.keeps_batch_norm and b"GroupNorm" in text
            if not is_group_norm and not may_hold_site(text, EMPTY_INDEX):
                return False
        return self._builds(path)

    def _imported_use(self, path: str, use: Use, item: Imported) -> Iterator[tuple[str, Use]]:
        """What a name means in the modules that it may be imported from."""
        rest = use.name.split(".")[1:]
        chain = [item.name, *rest] if item.name else rest
        for target in self._meant(path, item):
            place, left = target, list(chain)
            while left:
                below = self._modules.submodule(place, left[0])
                if below is None or (not place.endswith("/") and self._binds(place, left[0])):
                    break
                place = below
                del left[0]
            if not place.endswith("/"):
                yield place, replace(use, name=".".join(left) or _WHOLE)

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
            data = self._read(path) if self._may_build(path) else None
            self._known[path] = data is not None and self._changes_state_dicts(path, data)
        return self._known[path]

    def _changes_state_dicts(self, path: str, data: bytes) -> bool:
        from bncodemod.core import changes_state_dicts

        settings = self._settings(path)
        index = self._index(path) if settings.patches else EMPTY_INDEX
        if is_risky(data):
            return False
        try:
            return changes_state_dicts(data, settings, index)
        except Exception:  # it is said of the file itself, which is not rewritten
            return False

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
