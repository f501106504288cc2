"""Hands modules to worker processes and gathers what they say; what kills one costs one candidate.

Time and memory are watched from here. What was being built or checked when a worker had to be
killed, or died, is reported so; the rest of the module is examined by the next worker. A worker
that does not start any more is done without.
"""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from bncodemod.verify.errors import CannotVerify
from bncodemod.verify.model import (
    SPENT,
    CandidateResult,
    Cause,
    Check,
    CheckResult,
    Job,
    ModuleResult,
    Noted,
    Outcome,
    Site,
    Started,
    Timed,
    Unreached,
)
from bncodemod.verify.process import WorkerProcess, frames, printed
from bncodemod.verify.protocol import Finished, Hello, Setup
from bncodemod.verify.refusal import GUARD
from bncodemod.verify.verdicts import cleared

_PATIENCE = 0.05  # seconds between two looks at the clock and the memory
_START_LIMIT = 300.0
_MAX_DEATHS = 20  # of workers over one module
# Without these nothing is shown of a model, or of a block: any other may take too much.
_NEEDED = frozenset({Check.META_VMAP, Check.FORWARD, Check.VMAP, Check.EVAL_MODE, Check.RESTORED})
_MAY_BE_LEFT_OUT = frozenset(Check) - _NEEDED
_SHOWN_OUTPUT = 4000


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for one step (an import, a build, a check) and for one module; bytes, 0 for none."""

    step: float = 60.0
    module: float = 900.0
    memory: int = 0


@dataclass
class Gathered:
    """What came of the jobs."""

    modules: dict[str, ModuleResult] = field(default_factory=dict)
    candidates: dict[tuple[str, str], CandidateResult] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    reasons: dict[Site, str] = field(default_factory=dict)  # why sites were not reached
    lost: set[tuple[str, str]] = field(default_factory=set)  # candidates that cost a worker

    def add(self, result: ModuleResult | CandidateResult) -> None:
        """Keep a result; a module that is begun anew says some of them again."""
        if isinstance(result, ModuleResult):
            self.modules.setdefault(result.path, result)
        else:
            known = self.candidates.get((result.path, result.name))
            if known is None or len(known.checks) < len(result.checks):
                self.candidates[result.path, result.name] = result

    def add_times(self, timed: Timed) -> None:
        """Keep how long the runs of a candidate take."""
        known = self.candidates[timed.path, timed.name]
        self.candidates[timed.path, timed.name] = dataclasses.replace(
            known, timings=timed.timings, notes=(*known.notes, *timed.notes)
        )

    def tried(self) -> frozenset[tuple[str, str]]:
        """The candidates that were checked, or lost: by their files and names."""
        checked = (key for key, result in self.candidates.items() if result.checks)
        return frozenset((*self.lost, *checked))

    def done(self) -> frozenset[Site]:
        """The sites that need no more checks."""
        return frozenset(site for result in self.candidates.values() for site in cleared(result))


_SEARCHING = Started("")


@dataclass
class _Work:
    """A job in a worker's hands."""

    job: Job
    deaths: int = 0
    begun: float = 0.0
    now: Started = _SEARCHING
    since: float = 0.0
    imported: bool = False


class _Post:
    """A device and the worker that serves it."""

    def __init__(self, device: str, process: WorkerProcess) -> None:
        self.device = device
        self.process = process
        self.work: _Work | None = None
        self.started = time.monotonic()
        self.ready = False


class Driver:
    """Runs jobs in worker processes; to be used as a context manager.

    ``threads`` is what each worker may use for one operation.
    """

    def __init__(self, setup: Setup, limits: Limits, threads: int = 1) -> None:
        self._setup = setup
        self._threads = threads
        self.limits = limits
        self._posts: list[_Post] = []
        self._news = threading.Event()
        self.gathered = Gathered()

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: object) -> None:
        for post in self._posts:
            post.process.kill()

    def start(self) -> Hello:
        """Start the first worker and ask what it runs on. Raises CannotVerify."""
        begun = time.monotonic()
        post = self._hire("cpu")
        hello = None
        while hello is None:
            self._pause()
            hello = self._greeted(post)
        self.gathered.seconds["start"] = time.monotonic() - begun
        return hello

    def run(
        self,
        jobs: Iterable[Job],
        devices: Sequence[str],
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Do all jobs, with a worker for each of the devices; the answers are in ``gathered``."""
        begun = time.monotonic()
        waiting = deque(_Work(job) for job in jobs)
        total = len(waiting)
        self._staff(devices[: max(total, 1)])
        while waiting or any(post.work for post in self._posts):
            for post in self._posts:
                if post.ready and post.work is None and waiting:
                    self._hand_out(post, waiting.popleft())
            self._pause()
            for post in tuple(self._posts):
                self._attend(post, waiting)
            if on_progress is not None:
                left = len(waiting) + sum(post.work is not None for post in self._posts)
                on_progress(total - left, total)
        spent = self.gathered.seconds.get("examine", 0.0)
        self.gathered.seconds["examine"] = spent + time.monotonic() - begun

    def _pause(self) -> None:
        self._news.wait(_PATIENCE)
        self._news.clear()

    def _staff(self, devices: Sequence[str]) -> None:
        """A worker for each device; the one that was asked first gets the first."""
        for number, device in enumerate(devices):
            if number < len(self._posts):
                self._posts[number].device = device
            else:
                self._hire(device)

    def _hire(self, device: str) -> _Post:
        post = _Post(device, WorkerProcess(self._setup, self._threads, self._news))
        self._posts.append(post)
        return post

    def _replace(self, post: _Post) -> None:
        post.process.kill()
        post.process = WorkerProcess(self._setup, self._threads, self._news)
        post.started = time.monotonic()
        post.ready = False

    def _dismiss(self, post: _Post, waiting: deque[_Work], error: CannotVerify) -> None:
        """Go on without a worker that cannot be started; without any, nothing more is examined."""
        post.process.kill()
        self._posts.remove(post)
        while waiting and not self._posts:
            path = waiting.popleft().job.path
            self.gathered.add(ModuleResult(path, error.message))
            self._note(path, f"given up: {error.message}")

    def _greeted(self, post: _Post) -> Hello | None:
        """A new worker's answer. Raises CannotVerify where it cannot work."""
        death = post.process.death()
        for message in post.process.messages(last=bool(death)):
            assert isinstance(message, Hello)
            if message.error:
                raise CannotVerify(message.error, message.remedy)
            post.ready = True
            return message
        if death or time.monotonic() - post.started > _START_LIMIT:
            said = post.process.output().strip().splitlines()
            raise CannotVerify(
                f"the worker process did not start: {death or 'it takes too long'}"
                + (f"; it said: {said[-1]}" if said else "")
            )
        return None

    def _hand_out(self, post: _Post, work: _Work) -> None:
        now = time.monotonic()
        work.begun = work.begun or now
        work.since, work.now, work.imported = now, _SEARCHING, False
        work.job = dataclasses.replace(
            work.job, device=post.device, done=work.job.done | self.gathered.done()
        )
        post.work = work
        post.process.forget_output()
        post.process.send(work.job)

    def _attend(self, post: _Post, waiting: deque[_Work]) -> None:
        """Hear what a worker has to say, and see whether it is still well."""
        if not post.ready:
            try:
                self._greeted(post)
            except CannotVerify as error:
                self._dismiss(post, waiting, error)
            return
        death = post.process.death()  # before its last words are read
        for message in post.process.messages(last=bool(death)):
            self._heard(post, message)
        work = post.work
        if work is None:
            if death:
                self._replace(post)
            return
        post.process.limit_output()
        trouble = self._trouble(post, work, death)
        if trouble is None:
            return
        given_up = self._lost(post, work, *trouble)
        self._replace(post)
        post.work = None
        if not given_up:
            waiting.appendleft(work)

    def _heard(self, post: _Post, message: object) -> None:
        work = post.work
        assert work is not None
        work.since = time.monotonic()
        if isinstance(message, Started):
            work.now = message
        elif isinstance(message, ModuleResult):
            work.imported = True
            output = message.output or _shortened(post.process.output())
            self.gathered.add(dataclasses.replace(message, output=output))
        elif isinstance(message, CandidateResult):
            work.now = _SEARCHING
            self.gathered.add(message)
        elif isinstance(message, Timed):
            work.now = _SEARCHING
            self.gathered.add_times(message)
        elif isinstance(message, Unreached):
            self.gathered.reasons[message.site] = message.reason
        elif isinstance(message, Noted):
            self._note(work.job.path, message.text)
        elif isinstance(message, Finished):
            self._finished(post, work, message)

    def _finished(self, post: _Post, work: _Work, message: Finished) -> None:
        post.work = None
        path = work.job.path
        if message.trace and not work.imported:
            last = message.trace.strip().splitlines()[-1]
            output = _shortened(post.process.output())
            self.gathered.add(ModuleResult(path, last, "", message.trace, output))
        if message.trace and work.imported:
            self._note(path, f"given up: {message.trace.strip().splitlines()[-1]}")
        if message.forked:
            self._note(path, "it forked the process that imported it")
        if message.changed:
            self._note(path, f"it changed libraries for its process: {_some(message.changed)}")
        if message.forked or message.changed:
            self._replace(post)  # its copies end with it, and what it changed

    def _note(self, path: str, note: str) -> None:
        known = self.gathered.modules.get(path) or ModuleResult(path)
        if note in known.notes:  # it was examined for the sites of others too
            return
        self.gathered.modules[path] = dataclasses.replace(known, notes=(*known.notes, note))

    def _trouble(self, post: _Post, work: _Work, death: str) -> tuple[Cause, str, str] | None:
        """Why a worker has to be replaced: the cause, in words, and a trace; None if it is well."""
        if death:
            return Cause.CRASH, death, post.process.output()
        memory = post.process.memory()
        if self.limits.memory and memory > self.limits.memory:
            limit = f"it needed more than {self.limits.memory / 2**30:.3g} GiB of memory"
            return Cause.MEMORY, limit, ""  # not a moment to ask where it is: it grows on
        now = time.monotonic()
        if now - work.since > self.limits.step:
            limit = f"it took longer than {self.limits.step:g} s"
            return Cause.TIMEOUT, limit, post.process.where()
        if now - work.begun > self.limits.module:
            work.deaths = _MAX_DEATHS
            limit = f"the module took longer than {self.limits.module:g} s (key module-timeout)"
            return Cause.TIMEOUT, limit, post.process.where()
        return None

    def _lost(self, post: _Post, work: _Work, cause: Cause, reason: str, trace: str) -> bool:
        """Report what a worker was lost over, and say whether the module is given up."""
        job, now = work.job, work.now
        path, line = _users_place(trace, job)
        if line:
            reason += f", at {os.path.basename(path)}:{line}"
        if not now.name:
            if work.imported:
                self._note(job.path, f"given up: {reason}")
            else:
                output = _shortened(printed(post.process.output()))
                self.gathered.add(ModuleResult(job.path, reason, GUARD, trace, output))
            return True
        work.deaths += 1
        is_given_up = work.deaths >= _MAX_DEATHS
        check, remedy = now.check or Check.META_VMAP, _REMEDIES[cause]
        failed = CheckResult(check, Outcome.FAILED, reason, cause, remedy, path, line, trace)
        work.job = dataclasses.replace(job, skip=job.skip | {now.name})
        if now.is_timed:
            self.gathered.add_times(Timed(job.path, now.name, notes=(f"not timed: {reason}",)))
        elif now.check in _MAY_BE_LEFT_OUT and cause in SPENT and not is_given_up:
            left_out = (now.name, dataclasses.replace(failed, outcome=Outcome.SKIPPED))
            work.job = dataclasses.replace(job, unfinished=(*job.unfinished, left_out))
        else:
            self.gathered.lost.add((job.path, now.name))
            self._add_lost(now, job.path, failed)
        if is_given_up:
            self._note(job.path, f"given up after {now.name}: {reason}")
        return is_given_up

    def _add_lost(self, now: Started, path: str, error: CheckResult) -> None:
        """Report a candidate that a worker was lost over, as a check that failed or not built."""
        checks = (error,) if now.check and now.sites else ()
        self.gathered.add(
            CandidateResult(
                path,
                now.name,
                now.line,
                sites=now.sites,
                checks=checks,
                error=error.message,
                trace=error.trace,
            )
        )


_REMEDIES = {
    Cause.CRASH: "build and run it by hand to see why; leave it out with --exclude",
    Cause.TIMEOUT: "raise --timeout, or give an example with smaller arguments or inputs",
    Cause.MEMORY: "raise --memory, or give an example with smaller arguments or inputs",
}


def _users_place(trace: str, job: Job) -> tuple[str, int]:
    """The innermost frame of a trace that lies in the user's folders."""
    folders = [os.path.join(os.path.realpath(f), "") for f in (job.root, *job.folders)]
    for path, line in frames(trace):
        if os.path.realpath(path).startswith(tuple(folders)) and "site-packages" not in path:
            return path, line
    return "", 0


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


def _shortened(text: str) -> str:
    text = text.strip()
    return text if len(text) <= _SHOWN_OUTPUT else f"{text[:_SHOWN_OUTPUT]} […]"
