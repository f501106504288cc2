"""One module, from its import to the checks of what it builds: what a worker does with a job."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import ModuleType

import torch

from bncodemod.verify import calling, checks_of_norms, checks_of_original  # noqa: F401
from bncodemod.verify.candidates import Candidate, candidates
from bncodemod.verify.checks import run_check
from bncodemod.verify.harvest import Harvest
from bncodemod.verify.instrument import Finder
from bncodemod.verify.loading import load
from bncodemod.verify.meta import device_of
from bncodemod.verify.model import (
    NORM_CAUSES,
    CandidateResult,
    Cause,
    Check,
    CheckResult,
    Event,
    Job,
    ModuleResult,
    Outcome,
    Site,
    Started,
)
from bncodemod.verify.prepare import Prepared, prepare
from bncodemod.verify.recorder import Recorder
from bncodemod.verify.refusal import Refusal
from bncodemod.verify.reproducible import reproducible
from bncodemod.verify.subject import Subject
from bncodemod.verify.timing import timings

Emit = Callable[[Event], None]

# What is not worth running once the norms are known to fail.
_AFTER_NORMS = frozenset(
    {
        Check.VMAP,
        Check.GRAD,
        Check.ENSEMBLE,
        Check.SINGLE,
        Check.BUFFERS,
        Check.CONSTANT,
        Check.INDEPENDENCE,
    }
)
_WITHOUT_FORWARD = frozenset({Check.META_VMAP, Check.FORWARD, Check.STATE_DICT})
_ROUNDS = 2  # what a bigger model shows of its parts helps to build them the second time
_PER_NUMBER = 50.0  # a number that is computed costs what so many parameters do
_PER_NUMBER = 50.0  # a number that is computed costs what so many parameters do
_TRIES = 3  # candidates that are checked for a site which none of them decides


@dataclass
class _Built:
    """A candidate that runs, and the sites that ran in it."""

    candidate: Candidate
    prepared: Prepared
    sites: frozenset[Site]
    cost: float
    seconds: float


def examine(job: Job, emit: Emit) -> None:
    """Import the job's module, build its candidates and check those that reach wanted sites."""
    sites = (*job.sites, *job.other_sites)
    with ExitStack() as stack:
        finder = stack.enter_context(Finder(sites))
        recorder = stack.enter_context(Recorder(sites))
        stack.enter_context(reproducible())
        start = time.perf_counter()
        emit(Started(""))
        try:
            module = load(job, finder)
        except (Exception, SystemExit) as error:
            emit(_not_imported(job, error, time.perf_counter() - start))
            return
        emit(ModuleResult(job.path, seconds=time.perf_counter() - start))
        _Examination(job, module, recorder, emit).run()


def _not_imported(job: Job, error: BaseException, seconds: float) -> ModuleResult:
    words = str(error).strip().partition("\n")[0]
    return ModuleResult(
        job.path,
        f"{type(error).__name__}: {words}".rstrip(": "),
        "".join(traceback.format_exception(error)),
        seconds=seconds,
    )


class _Examination:
    """The candidates of one module: all are built on meta, and few of them checked."""

    def __init__(self, job: Job, module: ModuleType, recorder: Recorder, emit: Emit) -> None:
        self._job, self._module, self._recorder, self._emit = job, module, recorder, emit
        self._harvest = Harvest((job.root,))
        self._wanted = {*job.sites, *job.other_sites} - job.done
        self._tries: Counter[Site] = Counter()

    def run(self) -> None:
        built = self._build_all(candidates(self._module, self._job))
        for each in sorted(built, key=lambda b: (not self._is_named(b.candidate), b.cost)):
            if self._is_named(each.candidate) or self._open(each.sites):
                self._emit(self._checked(each))
            else:
                note = "not checked: others reach its sites" if each.sites else ""
                self._emit(self._result(each, notes=(note,) if note else ()))

    def _is_named(self, candidate: Candidate) -> bool:
        return any(example.name == candidate.name for example in self._job.examples)

    def _open(self, sites: Iterable[Site]) -> set[Site]:
        return {s for s in sites if s in self._wanted and self._tries[s] < _TRIES}

    def _build_all(self, waiting: list[Candidate]) -> list[_Built]:
        """Build what can be built; say of the others why not."""
        built: list[_Built] = []
        refused: dict[str, CandidateResult] = {}
        waiting = [each for each in waiting if each.name not in self._job.skip]
        for _ in range(_ROUNDS):
            for candidate in waiting:
                outcome = self._built(candidate)
                if isinstance(outcome, _Built):
                    built.append(outcome)
                    refused.pop(candidate.name, None)
                else:
                    refused[candidate.name] = outcome
            waiting = [each for each in waiting if each.name in refused]
        for result in refused.values():
            self._emit(result)
        return built

    def _built(self, candidate: Candidate) -> _Built | CandidateResult:
        start = time.perf_counter()
        self._emit(Started(candidate.name))
        with self._harvest:
            prepared = prepare(
                candidate.target, candidate.name, self._module, self._job, self._harvest
            )
        if not isinstance(prepared, Refusal):
            try:
                sites, cost = self._reach(prepared)
            except Exception as error:
                prepared = Refusal(str(error), "".join(traceback.format_exception(error)))
            else:
                return _Built(candidate, prepared, sites, cost, time.perf_counter() - start)
        return CandidateResult(
            self._job.path,
            candidate.name,
            candidate.line,
            error=prepared.reason,
            trace=prepared.trace,
            seconds=time.perf_counter() - start,
        )

    def _reach(self, prepared: Prepared) -> tuple[frozenset[Site], float]:
        """The sites that run, and roughly what a run costs."""
        module = prepared.constructed.module
        device = device_of(module)
        arguments = prepared.inputs.make(device, batch=2, stack=None, seed=self._job.seed)
        with torch.no_grad(), device, self._recorder.running(module) as ran:
            calling.run(module, arguments)
        parameters = sum(p.numel() for p in module.parameters() if not _is_lazy(p))
        return frozenset(ran.sites), parameters + _PER_NUMBER * ran.numbers

    def _checked(self, each: _Built) -> CandidateResult:
        start = time.perf_counter()
        sites = tuple(sorted(each.sites, key=lambda s: (s.path, s.line, s.column)))
        name = each.candidate.name
        roots = (self._job.root, *self._job.folders)
        subject = Subject(name, each.prepared, self._job, sites, roots, self._recorder)
        results: list[CheckResult] = []
        for which in Check:
            if which in self._job.checks:
                self._emit(Started(name, which, sites))
                results += self._one(which, subject, results)
        times = timings(subject) if self._job.time and _succeeded(results) else ()
        self._settle(each.sites, results)
        result = self._result(each, tuple(subject.notes), tuple(results))
        seconds = each.seconds + time.perf_counter() - start
        return replace(result, timings=times, seconds=seconds)

    def _one(self, which: Check, subject: Subject, before: list[CheckResult]) -> list[CheckResult]:
        for result in before:
            if result.outcome is Outcome.FAILED and _decides(result, which, subject):
                message = f"not run: {result.check.value} has failed"
                return [CheckResult(which, Outcome.SKIPPED, message)]
        return run_check(which, subject)

    def _settle(self, sites: frozenset[Site], results: list[CheckResult]) -> None:
        """Want no more what these checks have decided."""
        failed = [result for result in results if result.outcome is Outcome.FAILED]
        blamed = {s for r in failed if r.cause in NORM_CAUSES for s in r.sites or sites}
        undecided = {s for r in failed for s in r.sites or sites} - blamed
        self._wanted -= blamed
        if _succeeded(results) or failed:
            self._wanted -= sites - undecided
        self._tries.update(sites)

    def _result(
        self,
        each: _Built,
        notes: tuple[str, ...] = (),
        results: tuple[CheckResult, ...] = (),
    ) -> CandidateResult:
        constructed = each.prepared.constructed
        return CandidateResult(
            self._job.path,
            each.candidate.name,
            each.candidate.line,
            constructed.how,
            constructed.call,
            each.prepared.inputs.text,
            tuple(sorted(each.sites, key=lambda s: (s.path, s.line, s.column))),
            results,
            notes=notes,
            seconds=each.seconds,
        )


def _decides(failed: CheckResult, which: Check, subject: Subject) -> bool:
    """Whether another check can add nothing to a failure."""
    if failed.check is Check.FORWARD:
        return which not in _WITHOUT_FORWARD
    all_fail = set(subject.sites) <= set(failed.sites or subject.sites)
    return which in _AFTER_NORMS and failed.cause is Cause.RUNNING_STATS and all_fail


def _succeeded(results: list[CheckResult]) -> bool:
    """Whether nothing failed, and something was run."""
    outcomes = {result.outcome for result in results}
    return Outcome.FAILED not in outcomes and Outcome.PASSED in outcomes


def _is_lazy(parameter: torch.Tensor) -> bool:
    return isinstance(parameter, torch.nn.parameter.UninitializedParameter)
