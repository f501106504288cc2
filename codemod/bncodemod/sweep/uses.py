"""What the files of a project do with each other's models: put together for one of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import filterfalse, islice
from operator import itemgetter
from typing import Any

from bncodemod.scan.index import ProjectIndex, Uses
from bncodemod.scan.links import Links, links_of
from bncodemod.scan.modules import ModuleMap, stem
from bncodemod.scan.uses import (
    Glance,
    Places,
    Transfers,
    defined_in,
    encoded,
    freezing_in,
    glance,
    handed_in,
    is_of_every_module,
    mentioned,
    run_under_transforms,
    site_holder_names,
    switchers_of,
    trainings_of,
    transfers_of,
    transforming_parameters,
    words_in,
)
from bncodemod.settings import Settings
from bncodemod.sweep.evaluations import Evaluations, evaluation_of, evaluations_of
from bncodemod.sweep.sharing import Sharing
from bncodemod.sweep.worker import paused_gc, read

_AUTO = "auto"
# Files by way of which a function is followed to a training.
_MAX_REMOVES = 4

# Does work on files, here or in other processes; gives each file with its result.
Spread = Callable[[Callable[[list[Any]], list[Any]], list[Any]], Iterable[tuple[Any, Any]]]
# Files and lines by the names that something is found of: those without brackets, the whole ones.
Found = dict[str, dict[str, list[tuple[str, int]]]]


def each(paths: Sequence[str], *, tell: Callable[[bytes], Any]) -> list[Any]:
    """What ``tell`` says of the bytes of each file; of no bytes where one cannot be read."""
    with paused_gc():
        contents = map(read, paths)
        return [tell(data if isinstance(data, bytes) else b"") for data in contents]


class ProjectUses:
    """The uses in all files of a project, each kind found when it is asked for.

    Of the ``paths``, the ``named`` ones are those that are asked about, each with whether it may
    hold a site. ``contents`` holds what counts instead of what stands on the disk; ``shown`` says
    how a file is called in what is said of it; ``is_whole`` whether no file of the project is left
    out; ``index`` gives what else a file needs to know of the others.
    """

    def __init__(
        self,
        named: Mapping[str, bool],
        paths: Iterable[str],
        spread: Spread,
        contents: Mapping[str, bytes],
        shown: Callable[[str], str],
        is_whole: bool,
        index: Callable[[str], ProjectIndex],
        settings: Callable[[str], Settings],
        modules: ModuleMap,
    ) -> None:
        self._spread = spread
        self._contents = contents
        self._shown = shown
        self._is_whole = is_whole
        self._index = index
        self._settings = settings
        self._modules = modules
        self._glances: dict[str, Glance] = self._told_of([*paths, *contents], glance)
        # Under auto, files decide together: each is asked what it runs under transforms.
        self._is_auto = is_whole and any(settings(path).strategy == _AUTO for path in named)
        self._asked = [path for path in self._glances if self._is_auto or path in named]
        self._quiet = {path for path, may_hold_site in named.items() if not may_hold_site}

    def of(self, path: str, data: bytes, settings: Settings) -> Uses:
        """What the other files do with what a file, which has these bytes, defines or builds."""
        uses = Uses(is_known=self._is_whole)
        if settings.reads_calls:
            uses = self._calls(path, data)
        if settings.strategy == _AUTO and self._is_whole:
            uses = self._evaluations.add(path, uses)
        if settings.patches:
            words = words_in(data)
            uses = replace(
                uses,
                loaded=dict(self._of_others(path, words, self._loaded)),
                saved=dict(self._of_others(path, words, self._saved)),
                named=dict(self._named(path)),
                transferring=dict(self._of_others(path, words, self._exchanging)),
                freezing=dict(self._of_others(path, words, self._freezing)),
                unlinked=self._unlinked(path),
            )
        return uses

    def _calls(self, path: str, data: bytes) -> Uses:
        """What other files do with the calls of models of a file."""
        running, words = self._running.get(path, frozenset()), words_in(data)
        transforming, taking = self._transforming_parameters
        return Uses(
            trained=dict(self._of_others(path, running, self._trainings[0])),
            in_train_mode=dict(self._of_others(path, running, self._trainings[1])),
            switching=dict(self._switching(path)),
            handed=dict(self._handed(path)),
            alone=self._alone(path),
            transformed=dict(self._transformed(path, defined_in(data))),
            transforming=dict(self._of_others(path, words, transforming)),
            running=dict(self._of_others(path, words, taking)),
            leading=self._leading.get(path, {}) if self._is_auto else {},
            is_known=self._is_whole,
        )

    @cached_property
    def _leading(self) -> dict[str, dict[str, str]]:
        """The functions by which models run under transforms, for each other file that may call
        them."""
        found: dict[str, list[str]] = defaultdict(list)
        for path, names in sorted(self._running.items()):
            for name in filterfalse(is_of_every_module, names):
                found[name].append(path)
        group = self._sharing.group
        spelled = self._told_of([*self._glances], partial(mentioned, wanted=encoded(found)))
        leading = {
            path: {
                name: self._shown(others[0])
                for name in sorted(words)
                for others in [[o for o in found[name] if o != path and group(o) == group(path)]]
                if others
            }
            for path, words in spelled.items()
        }
        return {path: names for path, names in leading.items() if names}

    @cached_property
    def _sharing(self) -> Sharing:
        return Sharing(self._links, self._modules)

    @cached_property
    def _links(self) -> dict[str, Links]:
        return self._told_of([*self._glances], links_of)

    @cached_property
    def _evaluations(self) -> Evaluations:
        tasks, told = [], {}
        running = (path for path, _ in self._transforming)
        for path in sorted({*running, *self._leading, *self._handing}):
            data = self._contents.get(path) or read(path)
            if isinstance(data, bytes):
                index = replace(self._index(path), uses=self._calls(path, data))
                if path in self._contents:
                    told[path] = evaluation_of(data, self._settings(path), index)
                else:
                    tasks.append((path, self._settings(path), index))
        told.update((task[0], found) for task, found in self._spread(evaluations_of, tasks))
        return Evaluations(
            self._links, self._sharing, told, lambda p: self._settings(p).strategy, self._shown
        )

    def hands_on(self, path: str, data: bytes) -> bool:
        """Whether a file may hand models to functions of others that run them under transforms."""
        if self._is_auto:
            return path in self._leading or path in self._handing
        return any(
            name in data and any(other != path for other in files)
            for name, files in self._handed_names.items()
        )

    @cached_property
    def _handing(self) -> frozenset[str]:
        """The files that name functions of others that run what they are given."""
        names = self._handed_names
        told = self._told_of([*self._glances], partial(mentioned, wanted=frozenset(names)))
        return frozenset(
            path
            for path, words in told.items()
            if any(other != path for word in words for other in names[word.encode()])
        )

    @cached_property
    def _handed_names(self) -> dict[bytes, set[str]]:
        """The functions that run what they are given under transforms, with their files."""
        found: dict[bytes, set[str]] = defaultdict(set)
        for names in self._transforming_parameters:
            for name, places in names.items():
                found[name.encode()].update(path for path, _ in places[name])
        return found

    def _told_of(self, paths: Iterable[str], tell: Callable[[bytes], Any]) -> dict[str, Any]:
        here = {path for path in paths if path in self._contents}
        found = dict(self._spread(partial(each, tell=tell), [p for p in paths if p not in here]))
        return {**found, **{path: tell(self._contents[path]) for path in here}}

    @cached_property
    def _transfers(self) -> dict[str, Transfers]:
        paths = [path for path, seen in self._glances.items() if seen.transfers]
        return self._told_of(paths, transfers_of)

    @cached_property
    def _loaded(self) -> Found:
        return _by_name((path, found.loaded) for path, found in self._transfers.items())

    @cached_property
    def _saved(self) -> Found:
        return _by_name((path, found.saved) for path, found in self._transfers.items())

    @cached_property
    def _running(self) -> dict[str, frozenset[str]]:
        """The definitions of the named files by which models run under transforms."""
        found = {}
        for path in self._asked:
            if self._glances[path].words:
                data = self._contents.get(path) or read(path)
                if isinstance(data, bytes):
                    with paused_gc():
                        found[path] = run_under_transforms(data, self._index(path))
        return {path: names for path, names in found.items() if names}

    @cached_property
    def _trainings(self) -> tuple[Found, Found]:
        """Where what runs models under transforms is called in trainings, and in train mode.

        A function that calls one stands for it in turn.
        """
        means = {name: {name} for names in self._running.values() for name in names}
        modules = {stem(path) for path in self._running}
        trained: dict[str, Places] = defaultdict(tuple)
        moded: dict[str, Places] = defaultdict(tuple)
        asked: set[str] = set()
        for removes in range(_MAX_REMOVES):
            wanted = means.keys() - asked
            if not wanted:
                break
            asked |= wanted
            tell = partial(
                trainings_of,
                wanted=encoded(wanted),
                modules=encoded(modules),
                by_import=removes > 0,
            )
            modules = set()
            for path, found in sorted(self._told_of([*self._glances], tell).items()):
                trained[path] += tuple(_by_way(found.trained, means))
                moded[path] += tuple(_by_way(found.in_train_mode, means))
                for holder, name in found.carried:
                    means.setdefault(holder, set()).update(means[name])
                    modules.add(stem(path))
        return _by_name(trained.items()), _by_name(moded.items())

    @cached_property
    def _switchers(self) -> Found:
        wanted = frozenset(word for seen in self._glances.values() for word in seen.words)
        paths = [
            path
            for path, seen in self._glances.items()
            if seen.switches and not wanted.isdisjoint(seen.defined)
        ]
        return _by_name(self._told_of(paths, partial(switchers_of, wanted=wanted)).items())

    def _switching(self, path: str) -> Iterator[tuple[str, str]]:
        """The functions of other files that put what they are given into train mode."""
        seen = self._glances.get(path, Glance())
        return self._of_others(path, seen.words - seen.defined, self._switchers)

    @cached_property
    def _tops(self) -> dict[str, frozenset[str]]:
        """The names of the modules that may hold sites."""
        loud = [path for path in self._glances if path not in self._quiet]
        told = self._told_of(loud, site_holder_names)
        return {path: names for path, names in told.items() if names}

    @cached_property
    def _mentions(self) -> dict[str, frozenset[str]]:
        wanted = {name for top in self._tops.values() for name in top}
        wanted.update(filter(None, map(_module, self._glances)))
        return self._told_of([*self._glances], partial(mentioned, wanted=encoded(wanted)))

    @cached_property
    def _mentioning(self) -> dict[str, list[str]]:
        """The files that spell each module; under the empty name, all."""
        modules = {*map(_module, self._glances)}
        found = defaultdict(list, {"": sorted(self._glances)})
        for path in found[""]:
            for module in self._mentions[path] & modules:
                found[module].append(path)
        return found

    @cached_property
    def _values(self) -> dict[str, tuple[frozenset[str], frozenset[str]]]:
        names = encoded(name for found in self._running.values() for name in found)
        modules = encoded(filter(None, map(_module, self._running)))
        if not names:
            return {}
        told = self._told_of([*self._glances], partial(handed_in, wanted=names, modules=modules))
        return {path: told[path] for path in sorted(told) if told[path][0]}

    def _handed(self, path: str) -> Iterator[tuple[str, str]]:
        """The functions of a file that other files which spell its module take as values."""
        running, module = self._running.get(path, frozenset()), _module(path)
        for other, (values, modules) in reversed(self._values.items()):
            if other != path and (module in modules or not module):
                yield from ((name, self._shown(other)) for name in running & values)

    @cached_property
    def _spellings(self) -> dict[str, frozenset[str]]:
        """Which files spell what runs models under transforms, or the modules that it is in."""
        names = {name for found in self._running.values() for name in found}
        modules = filter(None, map(_module, self._running))
        return self._told_of(
            [*self._glances], partial(mentioned, wanted=encoded({*names, *modules}))
        )

    def _alone(self, path: str) -> frozenset[str]:
        """What runs models under transforms in a file and is spelled in no other beside it."""
        running, module = self._running.get(path, frozenset()), _module(path)
        if not running or not self._is_whole:
            return frozenset()
        others = (
            words
            for other, words in self._spellings.items()
            if other != path and (module in words or not module)
        )
        return running.difference(*others)

    def _named(self, path: str) -> Iterator[tuple[str, str]]:
        """The names of a module that other files spell which spell the module as well."""
        top = self._tops.get(path, frozenset())
        for other in reversed(self._mentioning.get(_module(path), ())) if top else ():
            if other != path:
                imported = (top & self._mentions[other]) - self._tops.get(other, frozenset())
                yield from ((name, self._shown(other)) for name in imported)

    def _unlinked(self, path: str) -> str:
        """Where another file loads weights into what it does not show."""
        for other, line in self._unlinked_loads:
            if other != path:
                return f"{self._shown(other)}:{line}"
        return ""

    @cached_property
    def _unlinked_loads(self) -> list[tuple[str, int]]:
        transfers = sorted(self._transfers.items())
        return [(path, found.unlinked) for path, found in transfers if found.unlinked]

    def _transformed(self, path: str, defined: frozenset[str]) -> Iterator[tuple[str, str]]:
        """The definitions of a file that other files spell which hold transforms."""
        for other, seen in self._transforming:
            if other != path:
                spelled = (defined & seen.words) - seen.defined
                yield from ((name, self._shown(other)) for name in spelled)

    @cached_property
    def _transforming(self) -> list[tuple[str, Glance]]:
        """The files with transforms, the first one last."""
        found = [(path, seen) for path, seen in self._glances.items() if seen.words]
        return sorted(found, key=itemgetter(0), reverse=True)

    @cached_property
    def _exchanging(self) -> Found:
        return _by_name((path, found.exchanging) for path, found in self._transfers.items())

    @cached_property
    def _freezing(self) -> Found:
        loud = [path for path in self._glances if path not in self._quiet]
        return _by_name(self._told_of(loud, freezing_in).items())

    @cached_property
    def _transforming_parameters(self) -> tuple[Found, Found]:
        paths = [path for path, _ in self._transforming]
        told = self._told_of(paths, transforming_parameters).items()
        return (
            _by_name((path, found[0]) for path, found in told if found),
            _by_name((path, found[1]) for path, found in told if found),
        )

    def _of_others(
        self, path: str, names: Iterable[str], found: Found
    ) -> Iterator[tuple[str, str]]:
        """What is found of some names, each in the first other file, in the order of these."""
        firsts = []
        for base in names:
            for name, places in found.get(base, {}).items():
                others = (place for place in places if place[0] != path)
                firsts += [(other, line, name) for other, line in islice(others, 1)]
        for other, line, name in sorted(firsts):
            yield name, f"{self._shown(other)}:{line}"


def _by_name(found: Iterable[tuple[str, Places]]) -> Found:
    """What is found in files, by the names without what is in brackets, then by the whole ones."""
    by_name: Found = {}
    for path, places in sorted(found):
        for name, line in places:
            whole = by_name.setdefault(name.partition("(")[0], {})
            whole.setdefault(name, []).append((path, line))
    return by_name


def _by_way(places: Places, means: Mapping[str, set[str]]) -> Iterator[tuple[str, int]]:
    """Places of functions, as those of what they call."""
    return ((meant, line) for name, line in places for meant in sorted(means[name]))


def _module(path: str) -> str:
    """The name by which a file is imported; empty for a package, which has that of its folder."""
    return "" if path.endswith("/__init__.py") else stem(path)
