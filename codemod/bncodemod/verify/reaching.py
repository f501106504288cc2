"""Building candidates on meta until the wanted sites are reached, and no more than that."""

from __future__ import annotations

import inspect
import itertools
import time
from collections.abc import Callable, Iterator, Set
from dataclasses import replace
from types import ModuleType

import torch

from bncodemod.verify import calling
from bncodemod.verify.broken import asks_for_statistics, broken, no_longer_runs
from bncodemod.verify.candidates import Candidate, needs_arguments
from bncodemod.verify.harvest import Harvest
from bncodemod.verify.inputs import Rehearse, find_inputs
from bncodemod.verify.mentions import Mentions, aliases
from bncodemod.verify.meta import device_of, is_lazy, quick_kernels
from bncodemod.verify.model import (
    Built,
    CandidateResult,
    CheckResult,
    Event,
    Job,
    Site,
    Started,
    in_order,
)
from bncodemod.verify.offline import offline
from bncodemod.verify.prepare import Prepared, prepare
from bncodemod.verify.reached import Reached, holds_one_of, reached, sites_in
from bncodemod.verify.recorder import Ran, Recorder
from bncodemod.verify.refusal import Refusal, refused
from bncodemod.verify.steering import below_tests
from bncodemod.verify.traceless import Traceless
from bncodemod.verify.variants import variants

_IDLE = 2  # builds in a row that reach nothing new, after which others are tried first
# Builds in a row that reach nothing, after which a module is given up: one with sites, and one that
# may only reach those of others.
_PATIENCE, _PATIENCE_WITH_OTHERS = 24, 4
_MOST_BRANCHES = 4  # other ways in which a candidate is built for sites that it holds
_MOST_SECONDS_FOR_PARTS = 20.0  # of a module's models that do not run as a whole
_MOST_USERS, _MOST_SECONDS_FOR_USERS = 12, 20.0  # of what was checked on inputs that are a guess
_PER_NUMBER = 50.0  # a number that is computed costs what so many parameters do


class Builder:
    """Builds the candidates of one module, in an order that soon reaches the wanted sites.

    What needs no arguments comes first: its parts show what they are built with and fed. Then come
    the classes and functions that hold wanted sites, then the others.
    """

    def __init__(
        self,
        job: Job,
        module: ModuleType,
        recorder: Recorder,
        emit: Callable[[Event], None],
        candidates: list[Candidate],
    ) -> None:
        self.refused: dict[str, CandidateResult] = {}
        self.is_done = False
        # Of the refused those that could be built, and whether they ask for statistics.
        self._unfed: dict[str, bool] = {}
        self._job, self._module, self._recorder, self._emit = job, module, recorder, emit
        self._harvest = Harvest((job.root,))
        self._wanted: frozenset[Site] = frozenset()
        self._gain = False  # whether the last candidate reached what none before it had
        self._waiting = [each for each in candidates if each.name not in job.skip]
        self._candidates = {each.name: each for each in candidates}
        self._patience = _PATIENCE if job.sites else _PATIENCE_WITH_OTHERS
        self._mentions = Mentions(job.path)
        self._plan = self._planned()

    def named(self) -> list[Reached]:
        """The candidates that the user names, all of them."""
        named = {example.name for example in self._job.examples}
        chosen = [each for each in self._waiting if each.name in named]
        self._waiting = [each for each in self._waiting if each.name not in named]
        return [built for each in chosen if (built := self._build(each)) is not None]

    def reach(self, wanted: frozenset[Site]) -> Iterator[Reached]:
        """Build on until all of the sites are reached, or nothing is left to build."""
        self._wanted = wanted
        while self._wanted:
            candidate = next(self._plan, None)
            if candidate is None:
                self.is_done = True
                yield from self._other_branches()
                yield from self._in_parts()
                return
            built = self._build(candidate)
            sites = built.sites if built is not None else frozenset()
            self._gain = bool(self._wanted & sites)
            self._wanted -= sites
            if built is not None:
                yield built

    def _other_branches(self) -> Iterator[Reached]:
        """Candidates built another time, for the branches that their first call passes by."""
        for candidate in self._candidates.values():
            idle: set[Site] = set()  # built, and run by nothing: they are no reason to stop at
            for _ in range(_MOST_BRANCHES):
                built = self._branch(candidate, idle)
                if built is None:
                    break
                held = sites_in(built.prepared.constructed.module)
                if built.sites & self._wanted:
                    self._wanted -= built.sites
                    yield built
                elif held <= idle:
                    break
                idle |= held

    def _branch(self, candidate: Candidate, idle: Set[Site]) -> Reached | None:
        missing = below_tests(candidate.target, in_order(self._held(candidate) - idle))
        if not missing or candidate.name in self.refused:
            return None
        return self._named_by_call(replace(candidate, variant="for another branch"), missing)

    def _in_parts(self) -> Iterator[Reached]:
        """What was built and does not run as a whole, by those of its parts that it calls."""
        end = time.process_time() + _MOST_SECONDS_FOR_PARTS
        for name in sorted(self._unfed, key=lambda name: not self._held(self._candidates[name])):
            if time.process_time() > end:
                return
            candidate = self._candidates[name]
            if self._holds_wanted(candidate) or self._leads(candidate):
                if self._stopped_by_the_rewrite(candidate):
                    continue
                in_parts = replace(candidate, variant="in parts")
                built = self._named_by_call(in_parts, self._wanted, by_parts=True)
                if built is not None:
                    self._wanted -= built.sites
                    yield built

    def _stopped_by_the_rewrite(self, candidate: Candidate) -> bool:
        """Whether a model may run as a whole no more because of its norms: parts hide that."""
        refusal = self.refused[candidate.name]
        if self._job.original_root and (failure := no_longer_runs(candidate, self._job)):
            refusal = replace(refusal, sites=failure.sites, checks=(failure,))
            self.refused[candidate.name] = replace(refusal, error=failure.message)
            return True
        return self._unfed[candidate.name]

    def _named_by_call(
        self, candidate: Candidate, sites: frozenset[Site], *, by_parts: bool = False
    ) -> Reached | None:
        built = self._again(candidate, sites, by_parts=by_parts)
        if built is None or (call := built.prepared.constructed.call) in self._job.skip:
            return None
        return replace(built, candidate=replace(candidate, name=call, variant=""))

    def _again(
        self, candidate: Candidate, sites: frozenset[Site], *, by_parts: bool = False
    ) -> Reached | None:
        """A candidate that was tried already, built another time in another way."""
        if candidate.title in self._job.skip:
            return None
        start = time.perf_counter()
        self._emit(Started(candidate.title, line=candidate.line))
        try:
            prepared = self._for(candidate, sites, self._job, by_parts)
            if isinstance(prepared, Refusal):
                return None
            ran, cost = self._run(prepared)
        except Exception:  # the candidate itself was tried, and will be reported
            return None
        return reached(candidate, prepared, ran, cost, time.perf_counter() - start)

    def smaller(self, sites: frozenset[Site]) -> Iterator[Reached]:
        """Build what may reach the sites at less cost: their owners, and the parts of models."""
        self._wanted = sites
        for candidate in self._taken(lambda each: self._holds_wanted(each) or self._is_part(each)):
            is_part = self._is_sighted(candidate)  # before it is built itself
            built = self._build(candidate)
            while built is not None:
                gained = self._wanted & built.sites
                self._wanted -= built.sites
                yield replace(built, is_part=is_part)
                built = self._with_other_norms(candidate) if gained else None

    def _with_other_norms(self, candidate: Candidate) -> Reached | None:
        """The same part as other models build it, for the sites that are left."""
        if not self._is_part(candidate):
            return None
        built = self._again(replace(candidate, variant="with another norm"), self._wanted)
        gained = built.sites & self._wanted if built is not None else frozenset()
        if built is None or not gained:
            return None
        lines = ", ".join(str(site.line) for site in in_order(gained))
        named = replace(candidate, variant=f"with the norm of line {lines}")
        return None if named.title in self._job.skip else replace(built, candidate=named)

    def refed(self, each: Reached, rehearse: Rehearse) -> Reached | None:
        """The same with inputs that run on the device too; None if there are none: it is refused.

        Meta takes what a device does not, as indices that are out of range.
        """
        candidate, constructed = each.candidate, each.prepared.constructed
        with self._harvest, offline():
            found = find_inputs(constructed, candidate.name, self._job, self._harvest, rehearse)
        if not isinstance(found, Refusal):
            prepared = replace(each.prepared, inputs=found)
            ran, cost = self._run(prepared)
            other = reached(candidate, prepared, ran, cost, each.seconds)
            return replace(other, is_part=each.is_part)
        self.refused[candidate.name] = CandidateResult(
            self._job.path,
            candidate.name,
            candidate.line,
            error=f"{candidate.name} could not be fed: {found.reason}",
            trace=found.trace,
            seconds=each.seconds,
        )
        return None

    def variants(self, sites: frozenset[Site]) -> Iterator[Reached]:
        """Build what holds the sites as calls in the project do that make other norms there."""
        self._wanted = sites
        for candidate in self._candidates.values():
            calls = [call for call in self._job.calls if call.name == candidate.name]
            owners = (candidate.name, f"{candidate.name}.__init__")
            held = [site for site in self._held(candidate) if site.owner in owners]
            for call in variants(candidate.target, calls, held):
                variant = replace(candidate, call=call)
                if variant.title not in self._job.skip:
                    built = self._build(variant)
                    if built is not None:
                        yield built

    def others(self, sites: frozenset[Site]) -> Iterator[Reached]:
        """Build on for sites that are reached already: what leads to them without arguments."""
        self._wanted = sites
        leading = self._taken(lambda each: not needs_arguments(each) and self._leads(each))
        for candidate in itertools.islice(leading, _PATIENCE):
            if (built := self._build(candidate)) is not None:
                yield built

    def using(self, names: Set[str], sites: frozenset[Site]) -> Iterator[Reached]:
        """Build what uses candidates of these names and reaches the sites, the outermost first.

        What does not run as a whole is run by its parts.
        """
        self._wanted = sites
        words = {name.rpartition(".")[2] for name in names} | aliases(self._module, names)
        end = time.process_time() + _MOST_SECONDS_FOR_USERS
        for name in self._mentions.users_of(words, self._candidates)[:_MOST_USERS]:
            if time.process_time() > end or name in self._job.skip or name in names:
                continue
            candidate = self._candidates[name]
            if candidate in self._waiting:
                self._waiting.remove(candidate)
                built = self._build(candidate)
            else:
                built = self._again(candidate, sites)
            if built is None and name in self._unfed:
                in_parts = replace(candidate, variant="in parts")
                built = self._named_by_call(in_parts, sites, by_parts=True)
            if built is not None:
                self.refused.pop(name, None)  # it may have been for want of other norms
                yield built

    def _is_part(self, candidate: Candidate) -> bool:
        """Whether a model that was built holds one, while sites are wanted."""
        return bool(self._wanted) and self._is_sighted(candidate)

    def _is_sighted(self, candidate: Candidate) -> bool:
        target = candidate.target
        return inspect.isclass(target) and next(self._harvest.sightings(target), None) is not None

    def _planned(self) -> Iterator[Candidate]:
        yield from self._taken(lambda each: not needs_arguments(each) and self._holds_wanted(each))
        idle = 0
        for candidate in self._taken(lambda each: not needs_arguments(each)):
            yield candidate
            idle = 0 if self._gain else idle + 1
            if idle == _IDLE:
                break
        yield from self._taken(self._holds_wanted)
        idle = 0
        for candidate in self._rest():
            yield candidate
            idle = 0 if self._gain else idle + 1
            if idle == self._patience:
                break
        for name in list(self.refused):  # by now others have shown how
            candidate = self._candidates[name]
            if self._holds_wanted(candidate):
                yield candidate

    def _rest(self) -> Iterator[Candidate]:
        yield from self._taken(lambda each: not needs_arguments(each) and self._leads(each))
        yield from self._taken(self._leads)
        yield from self._taken(lambda each: True)

    def _taken(self, choose: Callable[[Candidate], bool]) -> Iterator[Candidate]:
        """Those of the waiting candidates that are chosen when their turn comes."""
        for candidate in list(self._waiting):
            if candidate in self._waiting and choose(candidate):
                self._waiting.remove(candidate)
                yield candidate

    def _held(self, candidate: Candidate) -> frozenset[Site]:
        """The wanted sites that stand in the candidate's own text."""
        return frozenset(
            site
            for site in self._wanted
            if site.path == self._job.path and f"{site.owner}.".startswith(f"{candidate.name}.")
        )

    def _holds_wanted(self, candidate: Candidate) -> bool:
        return bool(self._held(candidate))

    def _leads(self, candidate: Candidate) -> bool:
        """Whether the candidate's text, or what it mentions, names what holds a wanted site."""
        owners = {site.owner.partition(".")[0] for site in self._wanted} - {""}
        return bool(owners & self._mentions.all_of(candidate.name.partition(".")[0]))

    def _build(self, candidate: Candidate) -> Reached | None:
        start = time.perf_counter()
        self._emit(Started(candidate.title, line=candidate.line))
        prepared = self._prepared(candidate)
        if not isinstance(prepared, Refusal):
            try:
                ran, cost = self._run(prepared)
            except Exception as error:
                prepared = refused(f"{candidate.name} does not run", error)
            else:
                self.refused.pop(candidate.name, None)
                return reached(candidate, prepared, ran, cost, time.perf_counter() - start)
        if candidate.call:
            return None
        if prepared.is_built:
            self._unfed[candidate.name] = asks_for_statistics(prepared.error)
        failure = self._broken(candidate, prepared)
        self.refused[candidate.name] = CandidateResult(
            self._job.path,
            candidate.name,
            candidate.line,
            sites=failure.sites if failure else (),
            checks=(failure,) if failure else (),
            error=prepared.reason,
            trace=prepared.trace,
            seconds=time.perf_counter() - start,
        )
        return None

    def _broken(self, candidate: Candidate, refusal: Refusal) -> CheckResult | None:
        """The failure where it is the rewrite that keeps a candidate from being built."""
        if refusal.error is None or not self._job.original_root or needs_arguments(candidate):
            return None
        return broken(candidate, self._job)

    def _prepared(self, candidate: Candidate) -> Prepared | Refusal:
        """Built so that the candidate's own sites are reached, else so that any wanted one is.

        A block that is built as a bigger model does may be given its norms by that model.
        """
        prepared: Prepared | Refusal = Refusal("nothing says how to build it")
        job = self._job
        if candidate.call:
            job = replace(job, examples=(candidate.call,))
        attempts = [sites for sites in (self._held(candidate), self._wanted) if sites]
        for sites in attempts or (None,):
            prepared = self._for(candidate, sites, job)
            if isinstance(prepared, Prepared) and candidate.call:
                return Prepared(replace(prepared.constructed, how=Built.CALL), prepared.inputs)
            if isinstance(prepared, Prepared):
                return prepared
        return prepared

    def _for(
        self,
        candidate: Candidate,
        sites: frozenset[Site] | None,
        job: Job,
        by_parts: bool = False,
    ) -> Prepared | Refusal:
        """Built so that one of the sites is reached."""
        with self._harvest:
            return prepare(
                candidate.target,
                candidate.name,
                self._module,
                job,
                self._harvest,
                holds_one_of(sites),
                by_parts=by_parts,
            )

    def _run(self, prepared: Prepared) -> tuple[Ran, float]:
        module = prepared.constructed.module
        device = device_of(module)
        arguments = prepared.inputs.make(device, batch=2, stack=None, seed=self._job.seed)
        with (
            Traceless(module),
            quick_kernels(),
            torch.no_grad(),
            device,
            self._recorder.running(module) as ran,
        ):
            calling.run(module, arguments)
        parameters = sum(p.numel() for p in module.parameters() if not is_lazy(p))
        return ran, parameters + _PER_NUMBER * ran.numbers
