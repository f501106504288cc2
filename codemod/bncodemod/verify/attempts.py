"""One candidate at a time: built on meta, fed and run once, or refused with the reason."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import ModuleType

import torch

from bncodemod.verify import calling
from bncodemod.verify.broken import asks_for_statistics, broken, no_longer_runs
from bncodemod.verify.candidates import Candidate, needs_arguments
from bncodemod.verify.harvest import Harvest
from bncodemod.verify.inputs import Rehearse, find_inputs
from bncodemod.verify.meta import device_of, is_lazy, quick_kernels
from bncodemod.verify.model import (
    Built,
    CandidateResult,
    CheckResult,
    Event,
    Job,
    Site,
    Started,
)
from bncodemod.verify.offline import offline
from bncodemod.verify.prepare import Prepared, prepare
from bncodemod.verify.reached import Reached, holds_one_of, reached
from bncodemod.verify.recorder import Ran, Recorder
from bncodemod.verify.refusal import Refusal, refused
from bncodemod.verify.traceless import Traceless

_PER_NUMBER = 50.0  # a number that is computed costs what so many parameters do


class Attempts:
    """Builds the candidates of one module.

    What those before it were built with and fed shows how to build the next one. ``refused`` says
    why candidates could not be built or fed, by their names; ``unfed`` are those of them that could
    be built, and whether they ask for statistics.
    """

    def __init__(
        self, job: Job, module: ModuleType, recorder: Recorder, emit: Callable[[Event], None]
    ) -> None:
        self.refused: dict[str, CandidateResult] = {}
        self.unfed: dict[str, bool] = {}
        self._job, self._module, self._recorder, self._emit = job, module, recorder, emit
        self._harvest = Harvest((job.root,))

    def build(self, candidate: Candidate, wanted: Iterable[frozenset[Site]]) -> Reached | None:
        """A candidate that runs; None if it is refused.

        It is built so that one of the ``wanted`` sites is reached, the first of them if it can be.
        """
        start = time.perf_counter()
        self._emit(Started(candidate.title, line=candidate.line))
        prepared = self._prepared(candidate, [sites for sites in wanted if sites])
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
            self.unfed[candidate.name] = asks_for_statistics(prepared.error)
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

    def again(
        self, candidate: Candidate, sites: frozenset[Site], *, by_parts: bool = False
    ) -> Reached | None:
        """A candidate that was tried already, built another time in another way."""
        if candidate.title in self._job.skip:
            return None
        start = time.perf_counter()
        self._emit(Started(candidate.title, line=candidate.line))
        try:
            prepared = self._prepare(candidate, sites, self._job, by_parts)
            if isinstance(prepared, Refusal):
                return None
            ran, cost = self._run(prepared)
        except Exception:  # the candidate itself was tried, and will be reported
            return None
        return reached(candidate, prepared, ran, cost, time.perf_counter() - start)

    def named_by_call(
        self, candidate: Candidate, sites: frozenset[Site], *, by_parts: bool = False
    ) -> Reached | None:
        """The same as ``again``, under the name of the call that builds it."""
        built = self.again(candidate, sites, by_parts=by_parts)
        if built is None or (call := built.prepared.constructed.call) in self._job.skip:
            return None
        return replace(built, candidate=replace(candidate, name=call, variant=""))

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

    def is_stopped_by_rewrite(self, candidate: Candidate) -> bool:
        """Whether an ``unfed`` model may run as a whole no more because of its norms."""
        refusal = self.refused[candidate.name]
        if self._job.original_root and (failure := no_longer_runs(candidate, self._job)):
            refusal = replace(refusal, sites=failure.sites, checks=(failure,))
            self.refused[candidate.name] = replace(refusal, error=failure.message)
            return True
        return self.unfed[candidate.name]

    def is_sighted(self, candidate: Candidate) -> bool:
        """Whether a model that was built holds one of the candidate's class."""
        target = candidate.target
        return inspect.isclass(target) and next(self._harvest.sightings(target), None) is not None

    def _broken(self, candidate: Candidate, refusal: Refusal) -> CheckResult | None:
        """The failure where it is the rewrite that keeps a candidate from being built."""
        if refusal.error is None or not self._job.original_root or needs_arguments(candidate):
            return None
        return broken(candidate, self._job)

    def _prepared(self, candidate: Candidate, wanted: list[frozenset[Site]]) -> Prepared | Refusal:
        prepared: Prepared | Refusal = Refusal("nothing says how to build it")
        job = self._job
        if candidate.call:
            job = replace(job, examples=(candidate.call,))
        for sites in wanted or (None,):
            prepared = self._prepare(candidate, sites, job)
            if isinstance(prepared, Prepared) and candidate.call:
                return Prepared(replace(prepared.constructed, how=Built.CALL), prepared.inputs)
            if isinstance(prepared, Prepared):
                return prepared
        return prepared

    def _prepare(
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
