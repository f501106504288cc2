"""What becomes of values that leave their files, wherever in the project they go."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from bncodemod.scan.index import Beyond, Elsewhere, Exit, ExitKind, ProjectIndex
from bncodemod.scan.need import Need
from bncodemod.scan.reading import MAX_ROUNDS, ProjectReader, Task
from bncodemod.scan.summary import Asked, FlowFacts, Request, Summary
from bncodemod.scan.targets import Symbol, Unread, results_of

_UNANSWERED = FlowFacts(found=False, escapes=True)
_UNASKED = FlowFacts()

_Seen = set[tuple[str, Request, bool]]


class Values:
    """The values that leave the files of ``reader``, and what other files answer about them."""

    def __init__(self, reader: ProjectReader) -> None:
        self._reader = reader
        self._answers: dict[tuple[str, Request], FlowFacts] = {}
        self._is_cut = False  # whether values were left that could not be followed to their end

    def follow(self) -> None:
        """Ask the files that values reach, and those that they reach from there."""
        for _ in range(MAX_ROUNDS):
            if not self._ask():
                return
        self._is_cut = True

    def _ask(self) -> bool:
        """Ask the files that values reach so far; False where every question is answered."""
        pending: dict[str, set[Request]] = defaultdict(set)
        missing: set[str] = set()
        for path, way in self._exits():
            for asked, request in self._requests(path, way, missing) or ():
                if (asked, request) not in self._answers:
                    pending[asked].add(request)
        tasks = [self._task(path, requests) for path, requests in sorted(pending.items())]
        changed = False
        for path, summary in self._reader.summarise(tasks):
            if summary is not None:
                changed |= self._answered(path, summary)
        if changed:
            self._reader.link(anew=True)
        more = self._reader.read(missing) or bool(pending)
        return self._reader.read_for_names() or more

    def _answered(self, path: str, summary: Summary) -> bool:
        """Note a file's answers; whether they change what names stand for."""
        new = False
        if path not in self._reader.paths:
            self._reader.take([(path, summary)])
        for request, facts in summary.answers.items():
            self._answers[path, request] = facts
            results = results_of(facts)
            new |= not results <= self._reader.given_back[path]
            self._reader.given_back[path] |= results
        return new

    def _task(self, path: str, requests: Iterable[Request]) -> Task:
        ordered = tuple(sorted(requests, key=repr))
        for request in ordered:  # what a file that cannot be read says
            self._answers[path, request] = _UNANSWERED
        known = path in self._reader.paths
        return Task(path, ordered, self._reader.linker.names(path) if known else ProjectIndex())

    def _exits(self) -> Iterator[tuple[str, Exit]]:
        for path in sorted(self._reader.paths):
            for way in self._reader.files[path].summary.flag_exits:
                yield path, way
            for _, facts in self._reader.files[path].summary.flows:
                for way, _ in facts.exits:
                    yield path, way
            for name, definition in self._reader.files[path].summary.classes.items():
                derived = self._reader.resolver.derived(Symbol(path, name))
                if derived is not None and (derived.parameters is None or definition.has_star):
                    yield path, Exit(ExitKind.VARIABLE, name)  # who builds it?
        for (path, _), facts in list(self._answers.items()):
            for way, _ in facts.exits:
                yield path, way

    def with_star(self, path: str) -> Iterator[str]:
        """The subclasses of norms in a file whose ``__init__`` takes ``*args``."""
        for name, facts in self._reader.files[path].summary.classes.items():
            if facts.has_star and self._reader.resolver.derived(Symbol(path, name)) is not None:
                yield name

    def _requests(
        self, path: str, way: Exit, missing: set[str] | None = None
    ) -> list[tuple[str, Request]] | None:
        """The questions whose answers tell what lies behind an exit; None if that is not known.

        A file that has to be read first goes into ``missing``.
        """
        if way.kind in (ExitKind.VARIABLE, ExitKind.RESULT):
            asked = Asked.USES if way.kind is ExitKind.VARIABLE else Asked.RESULTS
            return self._of_users(Symbol(path, way.name), asked)
        if way.kind is ExitKind.METHOD:
            return self._of_methods(path, way, missing)
        found = self._reader.resolver.definition(path, way)
        if isinstance(found, Unread):
            if missing is not None:
                missing.add(found.path)
            return None
        if found is None:
            return None
        symbol, rest = found
        if way.kind is ExitKind.ASSIGNED:
            own = symbol.path, Request(Asked.OWN, symbol.name)
            return [own, *self._of_users(symbol, Asked.USES)]
        name = ".".join([symbol.name, *rest])
        if way.kind is ExitKind.ATTRIBUTE:
            return [(symbol.path, Request(Asked.ATTRIBUTE, name))]
        return [(symbol.path, Request(Asked.PARAMETER, name, way.position, way.keyword))]

    def _of_methods(
        self, path: str, way: Exit, missing: set[str] | None
    ) -> list[tuple[str, Request]] | None:
        """The methods of a name in the files that this one imports from: any may be meant."""
        request = Request(Asked.METHOD, way.name, way.position, way.keyword)
        found = self._reader.lineage.imported_files(path)
        if missing is not None:
            missing |= found - self._reader.paths
        asked = [(file, request) for file in sorted(found & self._reader.paths)]
        return [a for a in asked if self._answers.get(a, _UNASKED).found] or None

    def _of_users(self, symbol: Symbol, asked: Asked) -> list[tuple[str, Request]]:
        users = sorted(self._reader.linker.users.get(symbol, ()))
        return [(path, Request(asked, spelled)) for path, spelled in users]

    def uses(self, symbol: Symbol) -> list[tuple[str, FlowFacts]]:
        """What other files do with a name of the project, each with the file."""
        users = self._of_users(symbol, Asked.USES)
        return [(asked[0], self._answers.get(asked, _UNANSWERED)) for asked in users]

    def of_alias(self, target: Symbol) -> Merged:
        """What becomes, in all files, of the norm class that a name of a module is bound to."""
        merged = Merged()
        for _, facts in self._reader.files[target.path].aliases.get(target.name, ()):
            self._merge(target.path, facts, merged, set())
        return merged

    def beyond(self, path: str, way: Exit) -> Beyond | None:
        """What becomes of a value behind an exit; None where the project does not say."""
        requests = self._requests(path, way)
        if requests is None or not all(map(self._is_answered, requests)):
            cut = self._cut(path, way)
            return Beyond((cut,), escapes=True) if cut is not None else None
        merged = Merged()
        seen: _Seen = set()
        for asked, request in requests:
            self._merge_answer(asked, request, merged, seen, way.many)
        given_back = [self._answers[asked] for asked in requests]
        return replace(
            merged.beyond(),
            returned=any(facts.returned for facts in given_back),
            sees_to_flag=bool(given_back) and all(facts.sees_to_flag for facts in given_back),
        )

    def _is_answered(self, asked: tuple[str, Request]) -> bool:
        return self._answers.get(asked, _UNANSWERED).found

    def _cut(self, path: str, way: Exit) -> Elsewhere | None:
        """What is said of a value that goes on from here, further than values are followed."""
        unread: set[str] = set()
        requests = self._requests(path, way, unread) if self._is_cut else None
        if not unread and all(asked in self._answers for asked in requests or ()):
            return None
        return Elsewhere(Need.UNKNOWN, "", f"{way.name}(…)")

    def _merge_answer(
        self, path: str, request: Request, merged: Merged, seen: _Seen, many: bool = False
    ) -> None:
        if (path, request, many) not in seen:
            seen.add((path, request, many))
            facts = self._answers.get((path, request), _UNANSWERED)
            if many:
                merged.demands.update(dict.fromkeys(facts.star_demands))
            self._merge(path, facts, merged, seen)

    def _merge(self, path: str, facts: FlowFacts, merged: Merged, seen: _Seen) -> None:
        merged.add(facts)
        for way, guesses in facts.exits:
            requests = self._requests(path, way)
            if requests is None or not all(map(self._is_answered, requests)):
                merged.demands.update(dict.fromkeys(guesses))
                cut = self._cut(path, way)
                if cut is not None:
                    merged.demands[cut] = None
                merged.escapes = True
            for asked, request in requests or ():
                self._merge_answer(asked, request, merged, seen, way.many)
                answer = self._answers.get((asked, request))
                # Where a call in that other file gives it back, it is not followed further.
                merged.escapes |= answer is not None and answer.returned


class Merged:
    """Facts of several files added up."""

    def __init__(self) -> None:
        self.demands: dict[Elsewhere, None] = {}
        self.calls = self.unwrapped = self.escapes = False
        self.sure = True

    def add(self, facts: FlowFacts) -> None:
        self.demands.update(dict.fromkeys(facts.demands))
        self.calls |= facts.calls
        self.unwrapped |= facts.unwrapped
        self.escapes |= facts.escapes
        self.sure &= facts.sure

    def beyond(self) -> Beyond:
        return Beyond(tuple(self.demands), self.calls, self.sure, self.unwrapped, self.escapes)
