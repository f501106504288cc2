"""Which files of a project may share models: those that some file imports, itself or by others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from bncodemod.scan.links import Links
from bncodemod.scan.modules import AMBIGUOUS, ModuleMap
from bncodemod.scan.outline import Imported


class Sharing:
    """Puts files into groups.

    What two files define comes together where one program imports both. So a file that imports
    others, by whatever way, joins those of them that have to do with norms or transforms.
    """

    def __init__(self, links: Mapping[str, Links], modules: ModuleMap) -> None:
        self._links = links
        self._modules = modules
        self._above: dict[str, str] = {}
        self._join()

    def group(self, path: str) -> str:
        """One file that stands for all that a file may share models with."""
        while (above := self._above.get(path)) is not None:
            self._above[path] = self._above.get(above, above)
            path = above
        return path

    def join(self, one: str, other: str) -> None:
        """Put the groups of two files together."""
        one, other = sorted((self.group(one), self.group(other)))
        if one != other:
            self._above[other] = one

    def _join(self) -> None:
        importers: dict[str, set[str]] = defaultdict(set)
        for path in self._links:
            for imported in self._imported(path):
                importers[imported].add(path)
        todo = [path for path, links in self._links.items() if links.matters]
        seen = set(todo)
        for path in todo:
            for importer in sorted(importers[path]):
                self.join(path, importer)
                if importer not in seen:
                    seen.add(importer)
                    todo.append(importer)

    def _imported(self, path: str) -> Iterator[str]:
        for item in self._links[path].imports:
            for target in self._meant(path, item):
                below = self._modules.submodule(target, item.name) if item.name else None
                for found in (target, below):
                    if found is not None and found in self._links and found != path:
                        yield from self._with_packages(found)

    def _with_packages(self, path: str) -> Iterator[str]:
        """A file and the packages that are imported before it."""
        yield path
        folder = path.rpartition("/")[0]
        while (package := f"{folder}/__init__.py") in self._links:
            yield package
            folder = folder.rpartition("/")[0]

    def _meant(self, path: str, item: Imported) -> list[str]:
        found = self._modules.resolve(path, item.module, item.level)
        if found == AMBIGUOUS:
            return self._modules.candidates(item.module)
        return [] if found is None else [found]
