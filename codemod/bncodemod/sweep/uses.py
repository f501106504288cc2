"""What the files of a project do with each other's models: put together for one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

from bncodemod.scan.index import Uses
from bncodemod.scan.modules import stem
from bncodemod.scan.uses import FileUses, Glance, glance, uses_of, words_in
from bncodemod.sweep.worker import paused_gc, read

# Does work on files, here or in other processes; gives each file with its result.
Spread = Callable[[Callable[[list[str]], list[Any]], list[str]], Iterable[tuple[str, Any]]]


def glances(paths: Sequence[str]) -> list[Glance]:
    """A look at the bytes of each file; at nothing where one cannot be read."""
    return [glance(data) if isinstance(data, bytes) else Glance() for data in map(read, paths)]


def uses(paths: Sequence[str], *, wanted: frozenset[str]) -> list[FileUses]:
    """What each file does with what other files define."""
    with paused_gc():
        return [_uses(path, wanted) for path in paths]


def _uses(path: str, wanted: frozenset[str]) -> FileUses:
    data = read(path)
    return uses_of(data, wanted) if isinstance(data, bytes) else FileUses()


def mentions(paths: Sequence[str], *, wanted: frozenset[str]) -> list[frozenset[str]]:
    """Which of the wanted words each file has."""
    texts = map(read, paths)
    return [words_in(data) & wanted if isinstance(data, bytes) else frozenset() for data in texts]


class ProjectUses:
    """The uses in all files of a project.

    ``contents`` holds what counts instead of what stands on the disk; ``shown`` says how a file is
    called in what is said of it; ``is_whole`` whether no file of the project is left out.
    """

    def __init__(
        self,
        paths: Iterable[str],
        spread: Spread,
        contents: Mapping[str, bytes],
        shown: Callable[[str], str],
        is_whole: bool,
    ) -> None:
        self._spread = spread
        self._contents = contents
        self._shown = shown
        self._is_whole = is_whole
        self._glances: dict[str, Glance] = dict(spread(glances, list(paths)))
        self._glances.update((path, glance(data)) for path, data in contents.items())
        wanted = frozenset(
            name for seen in self._glances.values() if seen.words for name in seen.defined
        )
        telling = [
            path
            for path, seen in self._glances.items()
            if seen.transfers or (seen.trains and wanted)
        ]
        self._uses: dict[str, FileUses] = dict(spread(partial(uses, wanted=wanted), telling))
        self._uses.update((path, uses_of(data, wanted)) for path, data in contents.items())

    @cached_property
    def _mentions(self) -> dict[str, frozenset[str]]:
        wanted = {name for seen in self._glances.values() for name in seen.top}
        wanted.update(filter(None, map(_module, self._glances)))
        found = dict(self._spread(partial(mentions, wanted=frozenset(wanted)), [*self._glances]))
        given = {path: words_in(data) & wanted for path, data in self._contents.items()}
        return {**found, **given}

    def _named(self, path: str) -> Iterator[tuple[str, str]]:
        """The names of a module that other files spell which spell the module as well."""
        top, module = self._glances.get(path, Glance()).top, _module(path)
        for other, words in sorted(self._mentions.items(), reverse=True):
            if other != path and (module in words or not module):
                imported = (top & words) - self._glances.get(other, Glance()).top
                yield from ((name, self._shown(other)) for name in imported)

    def of(self, path: str, words: Iterable[str]) -> Uses:
        """What the other files do with what a file defines, of which ``words`` are those."""
        own = frozenset(words)
        defined = self._glances.get(path, Glance()).defined
        return Uses(
            loaded=dict(self._told(path, own, lambda uses: uses.loaded)),
            saved=dict(self._told(path, own, lambda uses: uses.saved)),
            trained=dict(self._told(path, defined, lambda uses: uses.trained)),
            transformed={
                name: self._shown(other)
                for other, seen in sorted(self._glances.items())
                if other != path
                for name in (defined & seen.words) - seen.defined
            },
            named=dict(self._named(path)),
            is_known=self._is_whole,
        )

    def _told(
        self,
        path: str,
        names: frozenset[str],
        said: Callable[[FileUses], tuple[tuple[str, int], ...]],
    ) -> Iterator[tuple[str, str]]:
        for other, uses in sorted(self._uses.items(), reverse=True):
            if other != path:
                for name, line in said(uses):
                    if name.partition("(")[0] in names:
                        yield name, f"{self._shown(other)}:{line}"


def _module(path: str) -> str:
    """The name by which a file is imported; empty for a package, which has that of its folder."""
    return "" if path.endswith("/__init__.py") else stem(path)
