"""Reduces the summaries of a project's files to what each of them needs to know of the others.

Three things cross files. Names: an import leads, by way of other modules, to torch's class, to an
alias or to a subclass. Values: a class handed to another file's function may have to stay a class
there. And what a file does with a name of its own depends on who else uses it. All of it is found
on demand: a file is asked only for what some other file's norms reach.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from bncodemod.catalog.torch import norm_class
from bncodemod.scan.index import EMPTY_INDEX, Beyond, Elsewhere, Exit, ExitKind, ProjectIndex
from bncodemod.scan.lineage import Lineage
from bncodemod.scan.linking import Linker
from bncodemod.scan.modules import ModuleMap
from bncodemod.scan.need import TESTS, Need, calls_can_carry
from bncodemod.scan.resolving import Resolver
from bncodemod.scan.summary import Asked, FlowFacts, Request, Summary
from bncodemod.scan.targets import File, Symbol, Target, Unread, results_of

# A value or a name that passes through more files than this is not followed to its end.
_MAX_ROUNDS = 100


@dataclass(frozen=True, slots=True)
class Task:
    """A file to summarise, and what to ask it."""

    path: str
    requests: tuple[Request, ...] = ()
    index: ProjectIndex = EMPTY_INDEX


_UNANSWERED = FlowFacts(found=False, escapes=True)
_UNASKED = FlowFacts()

_Seen = set[tuple[str, Request, bool]]
Summarise = Callable[[list[Task]], Iterable[tuple[str, Summary | None]]]
Find = Callable[[frozenset[tuple[str, str]]], Iterable[str]]


class Project:
    """The files of a project and what is known of them so far.

    ``summarise`` summarises files, ``find`` gives the files that may use names, each of the module
    beside it.
    ``may_export`` says whether a name of a file that was not read (``*``: any) may mean a norm.
    ``holds_modules`` says whether other modules of the project may be read from one.
    ``keeps_batch_norm`` says of a file whether its norms are batch norms after the rewrite.
    ``ignored`` names a file that may build norms and is never rewritten, and no other.
    ``stars`` holds the star imports, as ``..package.module``, of files that hold nothing else.
    """

    def __init__(
        self,
        modules: ModuleMap,
        summarise: Summarise,
        find: Find,
        may_export: Callable[[str, str], bool],
        holds_modules: Callable[[str], bool],
        keeps_batch_norm: Callable[[str], bool],
        ignored: Callable[[str], str],
        stars: Mapping[str, tuple[str, ...]],
    ) -> None:
        self._modules = modules
        self._summarise = summarise
        self._find = find
        self._may_export = may_export
        self._holds_modules = holds_modules
        self._keeps_batch_norm = keeps_batch_norm
        self._ignored = ignored
        self._files = {path: File.of_stars(found) for path, found in stars.items()}
        self._read_files: set[str] = set()
        self._searched: set[tuple[str, str]] = set()
        self._answers: dict[tuple[str, Request], FlowFacts] = {}
        self._given_back: dict[str, set[str]] = defaultdict(set)
        self._carried: dict[Symbol, bool] = {}  # filled once all is read
        self._is_cut = False  # whether values were left that could not be followed to their end
        self._linker = Linker(self._modules, self._files, self._given_back)

    @property
    def _lineage(self) -> Lineage:
        return Lineage(self._resolver, self._files)

    @property
    def _resolver(self) -> Resolver:
        return self._linker.resolver

    def build(self, seeds: Iterable[str]) -> None:
        """Read ``seeds`` and whatever else bears on them."""
        self._read(seeds)
        for _ in range(_MAX_ROUNDS):
            if not self._read_for_names():
                break
        self._read_again()
        for _ in range(_MAX_ROUNDS):
            if not self._follow_values():
                break
        else:
            self._is_cut = True

    def index(self, path: str) -> ProjectIndex:
        """What one file needs to know of the others."""
        if path not in self._read_files:
            return ProjectIndex()
        summary = self._files[path].summary
        names = self._with_carried(path)
        exits = {way for _, facts in summary.flows for way, _ in facts.exits}
        exits.update(summary.flag_exits)
        exits.update(Exit(ExitKind.VARIABLE, n, many=True) for n in self._with_star(path))
        beyond = {way: self._beyond(path, way) for way in exits}
        settled = {
            spelled: replace(names.subclasses[spelled], tracks=False)
            for spelled, target in self._linker.subclasses_used(path).items()
            if self._is_settled(target)
        }
        for spelled, targets in self._linker.may_be(path).items():
            if all(map(self._is_settled, targets)):
                found = filter(None, map(self._resolver.norm_of, sorted(targets, key=repr)))
                settled.update((spelled, replace(norm, tracks=False)) for norm in found)
        ambiguous = {n: said for n, said in names.ambiguous.items() if n not in settled}
        used = self._linker.subclasses_used(path)
        subclasses = {
            spelled: norm
            for spelled, norm in names.subclasses.items()
            if spelled not in settled and not self._is_out_of_reach(used[spelled])
        }
        return replace(
            names,
            ambiguous=ambiguous,
            subclasses=subclasses,
            ignored={
                spelled: shown
                for spelled, source in self._linker.sources(path)
                for shown in [self._ignored(source)]
                if shown and not (spelled in subclasses or norm_class(names.names.get(spelled, "")))
            },
            handled={**names.handled, **settled},
            rebased=frozenset(s.name for s in self._rebased if s.path == path),
            rebased_elsewhere=frozenset(
                spelled
                for spelled, target in self._linker.classes_used(path).items()
                if not self._rebased.isdisjoint(self._lineage.roots(target))
            ),
            plain=self._lineage.plain_bases(path),
            beyond={way: known for way, known in beyond.items() if known is not None},
            built_elsewhere=frozenset(
                name for name in summary.classes if self._calls_carry(Symbol(path, name))
            ),
        )

    @cached_property
    def _rebased(self) -> frozenset[Symbol]:
        """The classes on top of a norm whose calls cannot carry the flag; asked once all is read.

        One that derives from them, wherever it is, is not built straight by the norm's arguments.
        """
        return frozenset(
            root
            for target in self._derived_classes()
            if not self._lineage.is_plain(target) or self._is_built_unseen(target)
            for root in self._lineage.roots(target)
        )

    def _is_settled(self, target: Target) -> bool:
        """Whether a norm of the project is dealt with where it is defined, whoever uses it."""
        if not isinstance(target, Symbol):
            return False
        if self._ignored(target.path):
            return False
        if not self._keeps_batch_norm(target.path):
            return True
        if self._resolver.alias(target) is not None:
            return not self._is_carried(target)
        derived = self._resolver.derived(target)
        if derived is not None and derived.alias is not None:
            return not self._is_carried(derived.alias)
        has_init = derived is not None and derived.parameters is not None
        return has_init or not self._rebased.isdisjoint(self._lineage.roots(target))

    def _is_out_of_reach(self, target: Symbol) -> bool:
        """Whether a class is never rewritten, and no call can carry the flag to its norm."""
        if not self._ignored(target.path):
            return False
        return not self._keeps_batch_norm(target.path) or not self._lineage.is_plain(target)

    def _is_built_unseen(self, target: Symbol) -> bool:
        """Whether the calls that build a class without an ``__init__`` cannot all carry a flag."""
        facts = self._files[target.path].summary.classes[target.name]
        if facts.parameters is not None:
            return False
        users = {path for path, _ in self._linker.users.get(target, ())}
        if not all(map(self._keeps_batch_norm, users)):
            return True
        return not facts.mentioned and not self._calls_carry(target)

    def _derived_classes(self) -> Iterator[Symbol]:
        for path in sorted(self._read_files & self._files.keys()):
            for name in self._files[path].summary.classes:
                target = Symbol(path, name)
                if self._resolver.derived(target) is not None:
                    yield target

    def _calls_carry(self, target: Symbol) -> bool:
        """Whether other files build a class, and all of them put the flag into their calls."""
        users = self._of_users(target, Asked.USES)
        uses = [self._answers.get(asked, _UNANSWERED) for asked in users]
        builds = any(
            facts.found
            and (facts.calls or facts.exits or any(d.need not in TESTS for d in facts.demands))
            for facts in uses
        )
        return builds and all(self._keeps_batch_norm(path) for path, _ in users)

    def _with_carried(self, path: str) -> ProjectIndex:
        """The names of a file; an alias whose calls carry the flag is the class itself."""
        index = self._linker.names(path)
        carried = {
            spelled: norm.qualified
            for spelled, target in self._linker.aliases_used(path).items()
            for norm in [self._resolver.alias(target)]
            if norm is not None and self._is_carried(target)
        }
        handled = {name: norm for name, norm in index.handled.items() if name not in carried}
        spelled = {name: carried.get(known, known) for name, known in index.names.items()}
        return replace(index, names=spelled, handled=handled)

    def _is_carried(self, target: Symbol) -> bool:
        """Whether an alias stays a class, as its uses need one, and its calls carry the flag."""
        if target not in self._carried:
            merged = _Merged()
            for _, facts in self._files[target.path].aliases.get(target.name, ()):
                self._merge(target.path, facts, merged, set())
            needs = {d.need for d in merged.demands} - {Need.FUNCTION_TEST}
            # A file that is never rewritten only gives the norm another name.
            self._carried[target] = bool(self._ignored(target.path)) or (
                self._keeps_batch_norm(target.path)
                and bool(needs)
                and calls_can_carry(
                    needs, builds=merged.calls, sure=merged.sure, escapes=merged.escapes
                )
            )
        return self._carried[target]

    # Reading files.

    def _read(self, paths: Iterable[str]) -> bool:
        wanted = sorted(set(paths) - self._read_files)
        self._read_files.update(wanted)
        if wanted:
            self._take(self._summarise([Task(path) for path in wanted]))
        return bool(wanted)

    def _take(self, summaries: Iterable[tuple[str, Summary | None]]) -> None:
        """Take files in, or what is known now of files that were read before."""
        linked = True
        for path, summary in summaries:
            file = File(summary or Summary())
            linked = path not in self._files and linked and self._linker.add(path, file)
            self._read_files.add(path)
            self._files[path] = file
        self._link(anew=not linked)

    def _link(self, anew: bool) -> None:
        if anew:
            self._linker = Linker(self._modules, self._files, self._given_back)
        for path in sorted(self._read_files & self._files.keys()):
            self._linker.names(path)

    def _read_for_names(self) -> bool:
        """Read the files through which the names known so far pass; False where none is left."""
        missing = {
            target.path
            for path, unread in self._linker.unread.items()
            for item, target in unread
            if (item.local or item.spelled) in self._files[path].summary.roots
            or (item.name == "*" and self._files[path].has_free_roots)
            or (item.name != "*" and target.name == "*" and self._holds_modules(target.path))
            or self._may_export(target.path, target.name)
        }
        missing |= {
            base.path
            for target in self._derived_classes()
            for targets in self._lineage.bases(target)
            for base in targets
            if isinstance(base, Unread)
        }
        words = frozenset(self._resolver.words()) - self._searched
        self._searched |= words
        return self._read(missing | set(self._find(words) if words else ()))

    def _read_again(self) -> None:
        """Read anew, with what is known now, the files whose norms come from other files."""
        tasks = []
        for path in sorted(self._read_files):
            index = self._linker.names(path)
            if any(index.norm(target) for target in index.names.values()):
                tasks.append(Task(path, index=index))
        if tasks:
            self._take(self._summarise(tasks))

    # Values that leave their files.

    def _follow_values(self) -> bool:
        """Ask the files that values reach so far; False where every question is answered."""
        pending: dict[str, set[Request]] = defaultdict(set)
        missing: set[str] = set()
        for path, way in self._exits():
            for asked, request in self._requests(path, way, missing) or ():
                if (asked, request) not in self._answers:
                    pending[asked].add(request)
        tasks = [self._task(path, requests) for path, requests in sorted(pending.items())]
        changed = False
        for path, summary in self._summarise(tasks):
            if summary is not None:
                changed |= self._answered(path, summary)
        if changed:
            self._link(anew=True)
        more = self._read(missing) or bool(pending)
        return self._read_for_names() or more

    def _answered(self, path: str, summary: Summary) -> bool:
        """Note a file's answers; whether they change what names stand for."""
        new = False
        if path not in self._read_files:
            self._take([(path, summary)])
        for request, facts in summary.answers.items():
            self._answers[path, request] = facts
            results = results_of(facts)
            new |= not results <= self._given_back[path]
            self._given_back[path] |= results
        return new

    def _task(self, path: str, requests: Iterable[Request]) -> Task:
        ordered = tuple(sorted(requests, key=repr))
        for request in ordered:  # what a file that cannot be read says
            self._answers[path, request] = _UNANSWERED
        known = path in self._read_files
        return Task(path, ordered, self._linker.names(path) if known else ProjectIndex())

    def _exits(self) -> Iterator[tuple[str, Exit]]:
        for path in sorted(self._read_files):
            for way in self._files[path].summary.flag_exits:
                yield path, way
            for _, facts in self._files[path].summary.flows:
                for way, _ in facts.exits:
                    yield path, way
            for name, definition in self._files[path].summary.classes.items():
                derived = self._resolver.derived(Symbol(path, name))
                if derived is not None and (derived.parameters is None or definition.has_star):
                    yield path, Exit(ExitKind.VARIABLE, name)  # who builds it?
        for (path, _), facts in list(self._answers.items()):
            for way, _ in facts.exits:
                yield path, way

    def _with_star(self, path: str) -> Iterator[str]:
        """The subclasses of norms in a file whose ``__init__`` takes ``*args``."""
        for name, facts in self._files[path].summary.classes.items():
            if facts.has_star and self._resolver.derived(Symbol(path, name)) is not None:
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
        found = self._resolver.definition(path, way)
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
        found = self._lineage.imported_files(path)
        if missing is not None:
            missing |= found - self._read_files
        asked = [(file, request) for file in sorted(found & self._read_files)]
        return [a for a in asked if self._answers.get(a, _UNASKED).found] or None

    def _of_users(self, symbol: Symbol, asked: Asked) -> list[tuple[str, Request]]:
        users = sorted(self._linker.users.get(symbol, ()))
        return [(path, Request(asked, spelled)) for path, spelled in users]

    def _beyond(self, path: str, way: Exit) -> Beyond | None:
        """What becomes of a value behind an exit; None where the project does not say."""
        requests = self._requests(path, way)
        if requests is None or not all(map(self._is_answered, requests)):
            cut = self._cut(path, way)
            return Beyond((cut,), escapes=True) if cut is not None else None
        merged = _Merged()
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
        self, path: str, request: Request, merged: _Merged, seen: _Seen, many: bool = False
    ) -> None:
        if (path, request, many) not in seen:
            seen.add((path, request, many))
            facts = self._answers.get((path, request), _UNANSWERED)
            if many:
                merged.demands.update(dict.fromkeys(facts.star_demands))
            self._merge(path, facts, merged, seen)

    def _merge(self, path: str, facts: FlowFacts, merged: _Merged, seen: _Seen) -> None:
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


class _Merged:
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
