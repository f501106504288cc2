"""What workers are to do: a job for each module that holds sites, or uses what holds some."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace

from bncodemod.verify.calls import definitions, literal_calls
from bncodemod.verify.mentions import has_users, is_script
from bncodemod.verify.model import CandidateResult, Example, Job, Site
from bncodemod.verify.options import Options
from bncodemod.verify.originals import Originals, mirror
from bncodemod.verify.roots import places
from bncodemod.verify.sources import Sources

_CALLED = re.compile(rb"(\w+)\s*\(")
_MAX_CALLS = 8  # of one class or function
_MAX_USERS = 100  # modules that are only examined for what they use
_MAX_USERS_OF_GUESSES = 24  # of what was verified on a guess


class Jobs:
    """The jobs of a run; ``folder`` is where the original sources are put."""

    def __init__(
        self,
        sources: Sources,
        options: Options,
        examples: Sequence[Example],
        originals: Originals,
        folder: str,
    ) -> None:
        self._sources = sources
        self._options = options
        self._examples = [*options.example, *examples]
        self._originals = {os.path.realpath(path): data for path, data in originals.items()}
        self._folder = folder
        self._mirrors: dict[str, str] = {}
        self._asked: set[tuple[str, str, str]] = set()  # files, for what others have in theirs
        self._places = places(sources.data)
        self._defined = {path: definitions(sources.data[path]) for path in sources.sites}
        self._calls = self._literal_calls()

    def of_sites(self, asked: Iterable[Site]) -> list[Job]:
        """A job for each module that holds one of the sites."""
        return [self._job(path) for path in sorted({site.path for site in asked})]

    def of_users(self, left: Iterable[Site]) -> list[Job]:
        """Jobs for modules without sites that may build what holds the sites that are left."""
        wanted = {self._places[site.path].name.rpartition(".")[2] for site in left}
        wanted |= {site.owner.partition(".")[0] for site in left} - {""}
        users = [path for path in self._importing(wanted) if path not in self._sources.sites]
        return [self._job(path) for path in users[:_MAX_USERS] if self._is_open(path)]

    def _is_open(self, path: str) -> bool:
        """Whether a file may be imported for what it uses: it holds sites, or is no script."""
        return path in self._sources.sites or not is_script(self._sources.data[path])

    def of_users_of_guesses(
        self,
        guesses: Mapping[tuple[str, str], frozenset[Site]],
        tried: Set[tuple[str, str]],
        lost: Set[str],
    ) -> list[Job]:
        """Jobs for files that may feed otherwise what was verified on a guess.

        ``guesses`` are the sites that hang on it, by the file and name of what was fed; candidates
        that were ``tried`` are left out. Its own file was looked at in its own job, unless that has
        ``lost`` a worker.
        """
        used: dict[str, set[tuple[str, str]]] = defaultdict(set)
        for path, name in guesses:
            last = name.rpartition(".")[2]
            for user in self._importing({last}):
                if (user != path or path in lost) and (user, path, name) not in self._asked:
                    self._asked.add((user, path, name))
                    if has_users(self._sources.data[user], last) and self._is_open(user):
                        used[user].add((path, name))
        every = tuple(self._sources.all_sites())
        return [
            replace(
                self._job(user),
                sites=(),
                other_sites=every,
                used=frozenset(name for _, name in found),
                doubted=frozenset().union(*(guesses[each] for each in found)),
                skip=frozenset(name for path, name in tried if path == user),
            )
            for user, found in sorted(used.items())[:_MAX_USERS_OF_GUESSES]
        ]

    def _importing(self, names: Iterable[str]) -> list[str]:
        """The files that import something and hold one of the names as a word."""
        if not (wanted := sorted(names)):
            return []
        words = re.compile(rb"\b(?:%s)\b" % b"|".join(word.encode() for word in wanted))
        files = sorted(self._sources.data.items())
        return [path for path, data in files if b"import" in data and words.search(data)]

    def unused_examples(self) -> list[str]:
        """The names of examples that no module of the run defines."""
        return [
            example.name
            for example in self._examples
            if not any(self._is_for(example, path) for path in self._sources.data)
        ]

    def is_said(self, candidate: CandidateResult) -> bool:
        """Whether an example says how to build a candidate."""
        return any(e.name == candidate.name for e in self._examples_for(candidate.path))

    def _job(self, path: str) -> Job:
        place = self._places[path]
        sites = self._sources.sites.get(path, ())
        others = tuple(site for site in self._sources.all_sites() if site.path != path)
        return Job(
            path=path,
            name=place.name,
            root=place.root,
            sites=sites,
            folders=place.folders,
            other_sites=others,
            examples=tuple(self._examples_for(path)),
            calls=tuple(self._calls_for(path)),
            checks=self._options.checks,
            seed=self._options.seed,
            time=self._options.time,
            original_root=self._original_root(path, place.root),
        )

    def _original_root(self, path: str, root: str) -> str:
        """Where the originals stand; empty for a module that was not changed."""
        if self._originals.get(os.path.realpath(path)) is None:
            return ""
        if root not in self._mirrors:
            self._mirrors[root] = mirror(root, self._originals, self._folder)
        return self._mirrors[root]

    def _examples_for(self, path: str) -> Iterator[Example]:
        for example in self._examples:
            if self._is_for(example, path):
                name = example.name.rpartition(":")[2]
                yield replace(example, name=name)

    def _is_for(self, example: Example, path: str) -> bool:
        """Whether a module may define what an example speaks of."""
        module, _, name = example.name.rpartition(":")
        if module and module != self._places[path].name:
            if os.path.realpath(module) != os.path.realpath(path):
                return False
        word = rb"\b%s\b" % re.escape(name.partition(".")[0].encode())
        return re.search(word, self._sources.data[path]) is not None and (
            bool(module) or self._defines(path, name)
        )

    def _defines(self, path: str, name: str) -> bool:
        if path not in self._defined:
            self._defined[path] = definitions(self._sources.data[path])
        return name.partition(".")[0] in self._defined[path]

    def _calls_for(self, path: str) -> Iterator[Example]:
        """Calls of what a module defines, those in the module itself first."""
        for name in sorted(self._defined.get(path, ())):
            found = sorted(self._calls[name], key=lambda item: item[0] != path)
            calls = dict.fromkeys(example for _, example in found)
            yield from sorted(calls, key=lambda call: not call.inputs)[:_MAX_CALLS]

    def _literal_calls(self) -> dict[str, list[tuple[str, Example]]]:
        """The calls in the files of the run, by the name that is called, with the file."""
        names = {name for defined in self._defined.values() for name in defined}
        found: dict[str, list[tuple[str, Example]]] = defaultdict(list)
        for path, data in sorted(self._sources.data.items()):
            words = set(_CALLED.findall(data))
            called = {name for name in names if name.rpartition(".")[2].encode() in words}
            for example in literal_calls(data, called):
                found[example.name].append((path, example))
        return found
