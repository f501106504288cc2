"""What the files of a project do with each other's models: put together for one of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

from bncodemod.scan.index import Uses
from bncodemod.scan.modules import stem
from bncodemod.scan.uses import (
    Glance,
    Places,
    Transfers,
    glance,
    handed_in,
    switchers_of,
    trainings_of,
    transfers_of,
    words_in,
)
from bncodemod.settings import Settings
from bncodemod.sweep.worker import paused_gc, read

# Files by way of which a function is followed to a training.
_MAX_REMOVES = 4

# Does work on files, here or in other processes; gives each file with its result.
Spread = Callable[[Callable[[list[str]], list[Any]], list[str]], Iterable[tuple[str, Any]]]


def each(paths: Sequence[str], *, tell: Callable[[bytes], Any]) -> list[Any]:
    """What ``tell`` says of the bytes of each file; of no bytes where one cannot be read."""
    with paused_gc():
        contents = map(read, paths)
        return [tell(data if isinstance(data, bytes) else b"") for data in contents]


def mentioned(data: bytes, wanted: frozenset[str]) -> frozenset[str]:
    """Which of the wanted words a file has."""
    return words_in(data) & wanted


class ProjectUses:
    """The uses in all files of a project, each kind found when it is asked for.

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
        self._glances: dict[str, Glance] = self._told_of([*paths, *contents], glance)

    def of(self, path: str, words: frozenset[str], settings: Settings) -> Uses:
        """What the other files do with what a file defines or builds, of which it has ``words``."""
        defined = self._glances.get(path, Glance()).defined
        uses = Uses(is_known=self._is_whole)
        if settings.reads_calls:
            uses = replace(
                uses,
                trained=dict(self._of_others(path, defined, self._trainings[0].items())),
                in_train_mode=dict(self._of_others(path, defined, self._trainings[1].items())),
                switching=dict(self._switching(path)),
                handed=dict(self._handed(path)),
                transformed=dict(self._transformed(path)),
            )
        if settings.patches:
            loaded = ((other, found.loaded) for other, found in self._transfers.items())
            saved = ((other, found.saved) for other, found in self._transfers.items())
            uses = replace(
                uses,
                loaded=dict(self._of_others(path, words, loaded)),
                saved=dict(self._of_others(path, words, saved)),
                named=dict(self._named(path)),
                unlinked=self._unlinked(path),
            )
        return uses

    def _told_of(self, paths: Iterable[str], tell: Callable[[bytes], Any]) -> dict[str, Any]:
        here = {path for path in paths if path in self._contents}
        found = dict(self._spread(partial(each, tell=tell), [p for p in paths if p not in here]))
        return {**found, **{path: tell(self._contents[path]) for path in here}}

    @cached_property
    def _transfers(self) -> dict[str, Transfers]:
        paths = [path for path, seen in self._glances.items() if seen.transfers]
        return self._told_of(paths, transfers_of)

    @cached_property
    def _trainings(self) -> tuple[dict[str, Places], dict[str, Places]]:
        """The functions of files with transforms that are called in trainings, and in train mode.

        By file and name, with the line; a function that calls one stands for it in turn.
        """
        holding = {path: seen.defined for path, seen in self._glances.items() if seen.words}
        means = {name: {name} for defined in holding.values() for name in defined}
        modules = {stem(path) for path in holding}
        trained: dict[str, Places] = defaultdict(tuple)
        moded: dict[str, Places] = defaultdict(tuple)
        asked: set[str] = set()
        for removes in range(_MAX_REMOVES):
            wanted = frozenset(means) - asked
            if not wanted:
                break
            asked |= wanted
            tell = partial(
                trainings_of, wanted=wanted, modules=frozenset(modules), by_import=removes > 0
            )
            modules = set()
            for path, found in sorted(self._told_of([*self._glances], tell).items()):
                trained[path] += tuple(_by_way(found.trained, means))
                moded[path] += tuple(_by_way(found.in_train_mode, means))
                for holder, name in found.carried:
                    means.setdefault(holder, set()).update(means[name])
                    modules.add(stem(path))
        return trained, moded

    @cached_property
    def _switchers(self) -> dict[str, Places]:
        wanted = frozenset(word for seen in self._glances.values() for word in seen.words)
        paths = [
            path
            for path, seen in self._glances.items()
            if seen.switches and not wanted.isdisjoint(seen.defined)
        ]
        return self._told_of(paths, partial(switchers_of, wanted=wanted))

    def _switching(self, path: str) -> Iterator[tuple[str, str]]:
        """The functions of other files that put what they are given into train mode."""
        words = self._glances.get(path, Glance()).words
        for name, place in self._of_others(path, words, self._switchers.items()):
            if name not in self._glances[path].defined:
                yield name, place

    @cached_property
    def _mentions(self) -> dict[str, frozenset[str]]:
        wanted = {name for seen in self._glances.values() for name in seen.top}
        wanted.update(filter(None, map(_module, self._glances)))
        return self._told_of([*self._glances], partial(mentioned, wanted=frozenset(wanted)))

    @cached_property
    def _values(self) -> dict[str, tuple[frozenset[str], frozenset[str]]]:
        holding = {path: seen for path, seen in self._glances.items() if seen.words}
        names = frozenset(name for seen in holding.values() for name in seen.defined)
        modules = frozenset(filter(None, map(_module, holding)))
        if not names:
            return {}
        return self._told_of([*self._glances], partial(handed_in, wanted=names, modules=modules))

    def _handed(self, path: str) -> Iterator[tuple[str, str]]:
        """The functions of a file that other files which spell its module take as values."""
        defined, module = self._glances.get(path, Glance()).defined, _module(path)
        for other, (values, modules) in sorted(self._values.items(), reverse=True):
            if other != path and (module in modules or not module):
                handed = (defined & values) - self._glances.get(other, Glance()).defined
                yield from ((name, self._shown(other)) for name in handed)

    def _named(self, path: str) -> Iterator[tuple[str, str]]:
        """The names of a module that other files spell which spell the module as well."""
        top, module = self._glances.get(path, Glance()).top, _module(path)
        for other, words in sorted(self._mentions.items(), reverse=True):
            if other != path and (module in words or not module):
                imported = (top & words) - self._glances.get(other, Glance()).top
                yield from ((name, self._shown(other)) for name in imported)

    def _unlinked(self, path: str) -> str:
        """Where another file loads weights into what it does not show."""
        for other, found in sorted(self._transfers.items()):
            if other != path and found.unlinked:
                return f"{self._shown(other)}:{found.unlinked}"
        return ""

    def _transformed(self, path: str) -> Iterator[tuple[str, str]]:
        """The definitions of a file that other files spell which hold transforms."""
        defined = self._glances.get(path, Glance()).defined
        for other, seen in sorted(self._glances.items(), reverse=True):
            if other != path:
                spelled = (defined & seen.words) - seen.defined
                yield from ((name, self._shown(other)) for name in spelled)

    def _of_others(
        self, path: str, names: frozenset[str], found: Iterable[tuple[str, Places]]
    ) -> Iterator[tuple[str, str]]:
        for other, places in sorted(found, reverse=True):
            if other != path:
                for name, line in places:
                    if name.partition("(")[0] in names:
                        yield name, f"{self._shown(other)}:{line}"


def _by_way(places: Places, means: Mapping[str, set[str]]) -> Iterator[tuple[str, int]]:
    """Places of functions, as those of what they call."""
    return ((meant, line) for name, line in places for meant in sorted(means[name]))


def _module(path: str) -> str:
    """The name by which a file is imported; empty for a package, which has that of its folder."""
    return "" if path.endswith("/__init__.py") else stem(path)
