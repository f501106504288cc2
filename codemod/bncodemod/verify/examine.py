"""One module, from its import to the checks of what it builds: what a worker does with a job."""

from __future__ import annotations

import re
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Set
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from types import ModuleType

from bncodemod.verify import (  # noqa: F401
    checks_of_norms,
    checks_of_original,
    checks_of_patches,
    checks_of_state,
    modes,
)
from bncodemod.verify.attempts import Attempts
from bncodemod.verify.blocks import examine_blocks
from bncodemod.verify.candidates import candidates
from bncodemod.verify.checks import CHECKS, run_check
from bncodemod.verify.feeding import Feeding
from bncodemod.verify.instrument import Finder
from bncodemod.verify.loading import load
from bncodemod.verify.memory import give_back
from bncodemod.verify.model import (
    NORM_CAUSES,
    OF_USERS,
    CandidateResult,
    Cause,
    Check,
    CheckResult,
    Event,
    Job,
    ModuleResult,
    Noted,
    Outcome,
    Site,
    SiteKind,
    Started,
    in_order,
)
from bncodemod.verify.offline import offline
from bncodemod.verify.patched_models import unreached, with_patched
from bncodemod.verify.reached import Reached
from bncodemod.verify.reaching import Builder
from bncodemod.verify.recorder import Recorder
from bncodemod.verify.refusal import import_remedy, in_a_line
from bncodemod.verify.reproducible import reproducible
from bncodemod.verify.subject import Subject
from bncodemod.verify.timing import timed
from bncodemod.verify.uncalled import uncalled
from bncodemod.verify.verdicts import cleared
from bncodemod.verify.writing import Writing, nothing_written

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
# The cost of a model from which on its parts are checked, where they can be, and of itself only
# what takes no gradients.
_DEAR = 5e7
_TOO_DEAR = 2e9  # of itself nothing: clips in full size take minutes on a CPU
_ON_META = frozenset({Check.META_VMAP, Check.BUFFERS})
_OF_THE_WHOLE = _ON_META | frozenset(
    {
        Check.VMAP,
        Check.CONSTANT,
        Check.INDEPENDENCE,
        Check.ORIGINAL_FAILS,
        Check.STATE_DICT,
        Check.BIT_IDENTICAL,
        Check.KEPT_STATE,
        Check.KEPT_EVAL,
        Check.GROUPED,
    }
)
_PARTS_WERE_CHECKED = "its parts were checked in its place, of the whole what takes no gradients"
_USES = "checked for what it feeds to what was checked on inputs that are a guess"
_OF_OTHERS = _ON_META | {Check.VMAP}  # of what may make another norm of a line that is verified
# A site that says itself that its norms keep no statistics.
_DECIDED = re.compile(r"track_running_stats\s*=\s*False|group_?norm|WithoutStats", re.IGNORECASE)
# A file that switches statistics on in norms that are there already.
_SWITCHED_ON = re.compile(
    r"\.track_running_stats\s*=(?!=|\s*False)|['\"]track_running_stats['\"]\s*,(?!\s*False)"
    r"|\.running_(mean|var)\s*=(?!=|\s*None)|register_buffer\(\s*['\"]running_"
)
# What models say that run on meta and are fed wrongly on a device.
_WRONG_INPUTS = re.compile(
    r"dtype|scalar type|not implemented for '|out of (range|bounds)|[Ss]ize|shape|dimension"
    r"|must match|^ValueError"
)
_TRIES = 3  # candidates that are checked for a site which none of them decides


def examine(job: Job, emit: Emit) -> None:
    """Import the job's module, build its candidates and check those that reach wanted sites."""
    sites = (*job.sites, *job.other_sites)
    with ExitStack() as stack:
        writing = stack.enter_context(nothing_written((job.root, *job.folders)))
        stack.callback(_note, writing, emit)
        finder = stack.enter_context(Finder(sites, job.root))
        recorder = stack.enter_context(Recorder(sites))
        stack.enter_context(reproducible())
        start = time.perf_counter()
        emit(Started(""))
        try:
            with offline():  # scripts build pretrained models when they are imported
                module = load(job, finder)
        except (Exception, SystemExit) as error:
            emit(_not_imported(job, error, time.perf_counter() - start))
            return
        emit(ModuleResult(job.path, seconds=time.perf_counter() - start))
        imported_blocks = tuple(modes.blocks)
        examination = _Examination(job, module, recorder, emit)
        if job.used:
            examination.check_users(job.used, job.doubted)
            return
        examination.run()
        reached = examination.reached
        for site in chain(unreached(module, job, reached), uncalled(module, job, reached)):
            emit(site)
        if job.checks & {Check.EVAL_MODE, Check.RESTORED}:
            examine_blocks(job, module, imported_blocks, emit)


def _note(writing: Writing, emit: Emit) -> None:
    for note in writing.notes():
        emit(Noted(note))


def _not_imported(job: Job, error: BaseException, seconds: float) -> ModuleResult:
    return ModuleResult(
        job.path,
        in_a_line(error),
        import_remedy(error),
        "".join(traceback.format_exception(error)),
        seconds=seconds,
    )


class _Examination:
    """The candidates of one module: enough are built on meta, the cheapest of them are checked."""

    def __init__(self, job: Job, module: ModuleType, recorder: Recorder, emit: Emit) -> None:
        self._job, self._recorder, self._emit = job, recorder, emit
        found = with_patched(candidates(module, job), module, job)
        self._attempts = Attempts(job, module, recorder, emit)
        self._builder = Builder(job, module, self._attempts, found)
        self.reached: set[Site] = set()
        sites = {*job.sites, *job.other_sites} - job.done
        self._wanted = {site for site in sites if site.kind is not SiteKind.BLOCK}
        # Those of the module that another one's models have verified may make other norms here.
        self._verified = set(job.done & frozenset(job.sites))
        self._whole: set[Site] = set()  # those that were checked in what is no part of a model
        self._tries: Counter[Site] = Counter()
        self._unfinished = {(name, result.check): result for name, result in job.unfinished}
        self._feeding = Feeding()

    def run(self) -> None:
        """Check what decides the wanted sites, then what may show more of those that are verified.

        What is built and not checked is said too, and what could not be built.
        """
        for named in self._builder.named():
            self._examine(named)
        left, dear = self._decide()
        self._check_other_norms(left)
        for each in sorted(left, key=lambda each: each.cost):
            if each in dear and self._is_to_be_compared(each):
                self._examine(each, self._job.checks & _OF_THE_WHOLE, _PARTS_WERE_CHECKED)
            else:
                note = "not checked: others reach its sites" if each.sites else "it reaches no site"
                self._emit(self._result(each, notes=(note,)))
        self.check_users(self._feeding.guessed, self._feeding.doubted & self._verified)
        for result in self._attempts.refused.values():
            self._emit(result)

    def _decide(self) -> tuple[list[Reached], list[Reached]]:
        """Check candidates until the sites are decided; those left over, and the dear ones of all.

        Sites of other files are looked for only where this one has none of its own.
        """
        own = frozenset(self._wanted.intersection(self._job.sites or self._wanted))
        built: list[Reached] = []
        dear: list[Reached] = []
        while (missing := self._open(own)) and not self._builder.is_done:
            built += self._builder.reach(missing)
            dear = [each for each in built if each.cost > _DEAR]
            left = (self._open(each.sites) for each in dear)
            built += self._builder.smaller(frozenset().union(*left))
            for each in _in_turn(built, own):
                if self._open(each.sites):
                    built.remove(each)
                    self._examine(each)
        return built, dear

    def _check_other_norms(self, built: list[Reached]) -> None:
        """Check what may make other norms of a line that is verified; it is taken from ``built``.

        A subclass, or a function, may have the norms of a line keep their statistics.
        """
        for each in self._builder.variants(frozenset(self._verified)):
            self._examine(each)
        undecided = self._undecided()
        built += self._builder.others(undecided)
        for each in [each for each in built if each.keeping & undecided]:
            built.remove(each)
            self._examine(each, self._job.checks & _OF_OTHERS)

    def check_users(self, names: Set[str], sites: frozenset[Site]) -> None:
        """Check what makes use of candidates that were fed by guess, and may feed them otherwise.

        What norms of single samples do hangs on what they are fed: of one value nothing is left.
        """
        checks = self._job.checks & OF_USERS
        if not checks or not sites:
            return
        shown: set[Site] = set()  # in one user at least, the outermost
        for each in self._builder.using(names, sites):
            reached = each.sites & sites
            if self._feeding.has(each) or each.cost > _TOO_DEAR or not reached:
                continue
            is_other = each.cost <= _DEAR and not self._feeding.has_kind(each)
            if self._feeding.is_new(each) or (is_other and reached - shown):
                shown |= reached
                self._examine(each, checks, _USES)

    def _undecided(self) -> frozenset[Site]:
        """The verified sites whose norms may keep statistics, for all that their lines say."""
        with open(self._job.path, encoding="utf-8", errors="replace") as file:
            if _SWITCHED_ON.search(file.read()):
                return frozenset(self._verified)
        return frozenset(site for site in self._verified if not _DECIDED.search(site.text))

    def _is_to_be_compared(self, each: Reached) -> bool:
        """Whether a model is to be checked as a whole, now that its parts were checked."""
        chosen = self._job.checks & _OF_THE_WHOLE - _ON_META
        return bool(each.cost < _TOO_DEAR and chosen and each.sites - self._whole)

    def _open(self, sites: Iterable[Site]) -> frozenset[Site]:
        """Those that are wanted still, and not given up."""
        return frozenset(s for s in sites if s in self._wanted and self._tries[s] < _TRIES)

    def _examine(
        self, each: Reached, checks: frozenset[Check] | None = None, note: str = ""
    ) -> None:
        """Check a candidate, say what came of it, and then see how long it takes.

        ``checks`` are those of a model whose sites others have decided, and ``note`` says so.
        Where it fails for what was guessed at, it is checked with other inputs, or refused.
        """
        self.reached |= each.sites
        sites, name = in_order(each.sites), each.candidate.name
        roots = (self._job.root, *self._job.folders)
        notes = [note] if note else []
        subject = Subject(name, each.prepared, self._job, sites, roots, self._recorder, notes)
        result = self._checked(each, subject, checks)
        if each.prepared.inputs.guessed and any(map(_is_wrongly_fed, result.checks)):
            other = self._attempts.refed(each, subject.rehearsed)
            if other is None:
                self._tries.update(each.sites)
                return
            each, sites = other, in_order(other.sites)
            subject = Subject(name, each.prepared, self._job, sites, roots, self._recorder, notes)
            result = self._checked(each, subject, checks)
        self._settle(result, each)
        self._emit(result)
        self._feeding.note(each)
        if self._job.time and each.candidate.title == name and _succeeded(result.checks):
            self._emit(Started(name, is_timed=True, line=each.candidate.line))
            self._emit(timed(subject, self._job.path, _not_to_be_timed(result.checks)))
        give_back()

    def _checked(
        self, each: Reached, subject: Subject, checks: frozenset[Check] | None
    ) -> CandidateResult:
        start = time.perf_counter()
        results: list[CheckResult] = []
        for which in Check:
            if which in (self._job.checks if checks is None else checks) and which in CHECKS:
                if (unfinished := self._unfinished.get((each.candidate.title, which))) is not None:
                    results.append(unfinished)
                    continue
                started = Started(
                    each.candidate.title, which, subject.sites, line=each.candidate.line
                )
                self._emit(started)
                results += self._one(which, subject, results)
        result = self._result(each, tuple(subject.notes), tuple(results))
        return replace(result, seconds=each.seconds + time.perf_counter() - start)

    def _one(self, which: Check, subject: Subject, before: list[CheckResult]) -> list[CheckResult]:
        for result in before:
            if result.outcome is Outcome.FAILED and _decides(result, which, subject):
                message = f"not run: {result.check.value} has failed"
                return [CheckResult(which, Outcome.SKIPPED, message)]
        return run_check(which, subject)

    def _settle(self, result: CandidateResult, each: Reached) -> None:
        """Want no more what the checks have decided: what they clear, and norms at fault."""
        if not each.is_part:
            self._whole |= each.sites
        failed = (check for check in result.checks if check.outcome is Outcome.FAILED)
        blamed = (check.sites or result.sites for check in failed if check.cause in NORM_CAUSES)
        self._verified |= set(cleared(result))
        self._wanted -= {*cleared(result), *chain.from_iterable(blamed)}
        self._tries.update(result.sites)

    def _result(
        self,
        each: Reached,
        notes: tuple[str, ...] = (),
        results: tuple[CheckResult, ...] = (),
    ) -> CandidateResult:
        constructed = each.prepared.constructed
        return CandidateResult(
            self._job.path,
            each.candidate.title,
            each.candidate.line,
            constructed.how,
            constructed.call,
            each.prepared.inputs.text,
            in_order(each.sites),
            results,
            notes=notes,
            seconds=each.seconds,
            idle=in_order(each.idle & each.sites),
            parts=each.prepared.parts,
            is_part=each.is_part,
            unsure=in_order(each.unsure),
            guessed=each.prepared.inputs.guessed,
        )


def _in_turn(built: Iterable[Reached], wanted: Iterable[Site]) -> list[Reached]:
    """The candidates that alone reach some site, then the others; the cheapest first.

    What these decide needs no other candidate.
    """
    candidates = sorted(built, key=lambda each: each.cost)
    reaching = {site: [e for e in candidates if site in e.sites - e.idle] for site in wanted}
    alone = [found[0] for found in reaching.values() if len(found) == 1]
    return sorted(candidates, key=lambda each: each not in alone)


def _decides(failed: CheckResult, which: Check, subject: Subject) -> bool:
    """Whether another check can add nothing to a failure."""
    if failed.check is Check.FORWARD:
        return which not in _WITHOUT_FORWARD
    all_fail = set(subject.sites) <= set(failed.sites or subject.sites)
    return which in _AFTER_NORMS and failed.cause is Cause.RUNNING_STATS and all_fail


def _is_wrongly_fed(result: CheckResult) -> bool:
    """Whether a model that runs on meta fails on its device as one does on other inputs."""
    return (
        result.check is Check.FORWARD
        and result.outcome is Outcome.FAILED
        and result.cause is Cause.OTHER
        and _WRONG_INPUTS.search(result.message) is not None
    )


def _not_to_be_timed(results: Iterable[CheckResult]) -> dict[str, str]:
    """What a check has found not to apply, and why."""
    return {
        result.check.value: result.message
        for result in results
        if result.check is Check.ENSEMBLE and result.outcome is Outcome.SKIPPED
    }


def _succeeded(results: Iterable[CheckResult]) -> bool:
    """Whether nothing failed, and something was run."""
    outcomes = {result.outcome for result in results}
    return Outcome.FAILED not in outcomes and Outcome.PASSED in outcomes
