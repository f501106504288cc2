"""Whether a file may use a norm of another, followed by a look at the files' texts alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bncodemod.scan.modules import AMBIGUOUS, ModuleMap
from bncodemod.scan.outline import Imported, Outline
from bncodemod.scan.prefilter import may_define_norm

# A file, and what is read from it: a name, and the attributes that are read from that.
Step = tuple[str, tuple[str, ...]]

_ANYTHING = ("*",)
# A trail of more steps than this is not followed by hand: then the files are read for good.
_MAX_STEPS = 300
_MAX_ATTRIBUTES = 8


class Trail:
    """Follows names through imports, base classes and assignments until a norm may be there.

    ``read`` gives a file's bytes, None for a file that is looked at anyway or cannot be read.
    """

    def __init__(self, modules: ModuleMap, read: Callable[[str], bytes | None]) -> None:
        self._modules = modules
        self._read = read
        self._outlines: dict[str, Outline | None] = {}
        self._holders: set[str] = set()
        self._answers: dict[Step, bool] = {}

    def starts_in(self, path: str, data: bytes, *, nearby: bool) -> bool:
        """Whether a file that spells no norm may import one.

        With ``nearby`` its imports are looked for beside it and in the folders above alone.
        """
        outline = Outline(data)
        for local, item in (*outline.imports, *(("*", item) for item in outline.called)):
            for target in self._targets(path, item, nearby=nearby):
                if any(self._leads(step) for step in _steps(target, item, outline, local)):
                    return True
        return False

    def imports_modules(self, path: str, data: bytes) -> bool:
        """Whether a file imports whole modules of the project, or all that one has."""
        return any(
            item.name in ("", "*") or self._modules.submodule(target, item.name) is not None
            for _, item in Outline(data).imports
            for target in self._targets(path, item)
        )

    def leads(self, path: str, name: str) -> bool:
        """Whether a name of a file (``*``: any) may mean a norm."""
        return self._leads((path, (name,)))

    def _leads(self, start: Step) -> bool:
        if start not in self._answers:
            self._answers[start] = self._reaches_norm(start)
        return self._answers[start]

    def _reaches_norm(self, start: Step) -> bool:
        seen: set[Step] = set()
        todo = [start]
        while todo:
            step = todo.pop()
            if step in seen or len(step[1]) > _MAX_ATTRIBUTES:
                continue
            seen.add(step)
            outline = self._outline(step[0])
            if step[0] in self._holders or len(seen) > _MAX_STEPS:
                return True
            todo += self._further(*step, outline)
        return False

    def _outline(self, path: str) -> Outline | None:
        if path not in self._outlines:
            data = None if path.endswith("/") else self._read(path)
            if data is not None and may_define_norm(data):
                self._holders.add(path)
            self._outlines[path] = None if data is None else Outline(data)
        return self._outlines[path]

    def _further(
        self, path: str, chain: tuple[str, ...], outline: Outline | None
    ) -> Iterator[Step]:
        """Where a name of a file may come from."""
        name, rest = chain[0], chain[1:]
        submodule = self._modules.submodule(path, name)
        if submodule is not None:
            yield submodule, rest or _ANYTHING
        if outline is None:
            return
        for local in list(outline.names) if name == "*" else [name]:
            for item in outline.by_local.get(local, ()):
                for target in self._targets(path, item):
                    yield target, ((item.name, *rest) if item.name else rest or _ANYTHING)
            for dotted in outline.derived.get(local, ()):
                yield path, (*dotted, *rest)
        for item in outline.stars:
            for target in self._targets(path, item):
                yield target, chain

    def _targets(self, path: str, item: Imported, *, nearby: bool = False) -> list[str]:
        """The files that an import may mean."""
        found = self._modules.resolve(path, item.module, item.level, nearby=nearby)
        if found == AMBIGUOUS:
            return self._modules.candidates(item.module)
        return [] if found is None else [found]


def _steps(target: str, item: Imported, outline: Outline, local: str) -> Iterator[Step]:
    """What a file may take from a module: the name it imports, and the attributes of that."""
    if item.name == "*":
        yield target, _ANYTHING
        return
    imported = (item.name,) if item.name else ()
    if outline.is_looked_into(local):
        yield target, (*imported, *_ANYTHING)
    chains = list(outline.chains(local))
    if imported and not chains:
        yield target, imported
    for chain in chains:
        yield target, (*imported, *chain)
