"""A sweep: find the files, rewrite them in as many processes as pay, write what changed.

The driver starts alone: it reads a file, holds it against the byte prefilter and keeps the
candidates. If they stay few, it rewrites them on the spot, or in a process of their own if they
look as if they could kill it. Once they are many, a pool takes over from the first of them, in
batches of about equal size and a bounded number at once: memory does not grow with the number of
files, and results come in the order of the paths.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bncodemod.model import FileError, FileResult, Status
from bncodemod.scan.index import EMPTY_INDEX
from bncodemod.scan.prefilter import may_hold_site
from bncodemod.settings import Configuration
from bncodemod.source.errors import Unwritable
from bncodemod.sweep.guard import is_risky
from bncodemod.sweep.walk import walk
from bncodemod.sweep.worker import Task, read, rewrite

if TYPE_CHECKING:
    from concurrent.futures import Future

    from bncodemod.sweep.pool import Pool

# Weight from which a pool pays, where workers are forked and where not: bytes of candidates, and
# of other files a part, because the prefilter takes its time as well.
POOL_PAYS_FORKED = 512 * 1024
POOL_PAYS_SPAWNED = 2048 * 1024
PREFILTER_SHARE = 8
BATCH_BYTES = 256 * 1024
BATCH_FILES = 200
BATCHES_PER_WORKER = 4


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A file that may hold a site."""

    task: Task
    data: bytes


@dataclass(slots=True)
class _Batch:
    """Files in order: those that cannot be read, and the places of those for the pool."""

    done: list[FileResult | None] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    size: int = 0
    future: Future[list[FileResult | None]] | None = None

    def filled(self, results: Iterable[FileResult | None]) -> list[FileResult | None]:
        for place, result in zip(self.places, results, strict=True):
            self.done[place] = result
        return self.done


def sweep(
    paths: Sequence[str | os.PathLike[str]],
    configuration: Configuration,
    *,
    write: bool,
    jobs: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[FileResult]:
    """Rewrite the Python files under ``paths``.

    Yields, in the order of the paths, a result for each file with a change, a finding or an error.
    With ``write``, a change has been written when its result comes; one that could not be written
    comes with an error and without ``after``. No error of a file ends the sweep; a
    ConfigurationError does, before anything is written. ``on_progress`` is called in this thread
    with the number of files done and of all files. ``jobs`` is the number of worker processes at
    most: by default one for each processor that this process may use.
    """
    found = list(
        walk(
            paths,
            exclude=configuration.exclude,
            extend_exclude=configuration.extend_exclude,
            force_exclude=configuration.force_exclude,
            root=configuration.root,
        )
    )
    # A wrong pyproject.toml anywhere is known before the first file is written.
    for folder in {os.path.dirname(item) for item in found if isinstance(item, str)}:
        configuration.at(folder)
    workers = available_cpus() if jobs is None else jobs
    with closing(_outcomes(found, configuration, workers)) as outcomes:
        for done, result in enumerate(outcomes, 1):
            if result is not None:
                if write and result.after is not None:
                    result = _written(result)
                yield result
            if on_progress is not None:
                on_progress(done, len(found))


def available_cpus() -> int:
    """The number of processors that this process may use."""
    if sys.version_info >= (3, 13):
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _outcomes(
    found: list[str | FileError], configuration: Configuration, jobs: int
) -> Generator[FileResult | None, None, None]:
    """What became of each file, in order, None where there is nothing to say."""
    waiting: list[FileResult | _Candidate | None] = []
    weight = 0
    for number, item in enumerate(found, 1):
        outcome, size = _looked_at(item, configuration)
        weight += size // PREFILTER_SHARE
        if isinstance(outcome, _Candidate):
            weight += size
        elif not waiting:
            yield outcome
            continue
        waiting.append(outcome)
        if _pool_pays(weight, jobs):
            rest = found[number - len(waiting) :]
            waiting.clear()
            yield from _pooled(_batches(rest, configuration), jobs)
            return
    yield from map(_here, waiting)


def _looked_at(
    item: str | FileError, configuration: Configuration
) -> tuple[FileResult | _Candidate | None, int]:
    """A file by what the driver can say of it, and its size: an error, a candidate, or nothing."""
    if isinstance(item, FileError):
        return _erroneous(item), 0
    data = read(item)
    if isinstance(data, FileResult):
        return data, 0
    if may_hold_site(data, EMPTY_INDEX):
        return _Candidate((item, configuration.for_path(item)), data), len(data)
    return None, len(data)


def _erroneous(error: FileError) -> FileResult:
    return FileResult(error.path, b"", errors=(error,))


def _pool_pays(weight: int, jobs: int) -> bool:
    if jobs < 2 or weight < POOL_PAYS_FORKED:
        return False
    if weight >= POOL_PAYS_SPAWNED:
        return True
    from bncodemod.sweep.pool import forks

    return forks()


def _here(item: FileResult | _Candidate | None) -> FileResult | None:
    if not isinstance(item, _Candidate):
        return item
    if is_risky(item.data):
        from bncodemod.sweep.pool import rewrite_alone

        return rewrite_alone(item.task)
    return rewrite(item.data, *item.task)


def _batches(found: Iterable[str | FileError], configuration: Configuration) -> Iterator[_Batch]:
    batch = _Batch()
    for item in found:
        if isinstance(item, FileError):
            batch.done.append(_erroneous(item))
            continue
        batch.places.append(len(batch.done))
        batch.done.append(None)
        batch.tasks.append((item, configuration.for_path(item)))
        with suppress(OSError):  # the worker says why it cannot be read
            batch.size += os.stat(item).st_size
        if batch.size >= BATCH_BYTES or len(batch.tasks) >= BATCH_FILES:
            yield batch
            batch = _Batch()
    yield batch


def _pooled(batches: Iterator[_Batch], jobs: int) -> Iterator[FileResult | None]:
    window = _Window(jobs)
    try:
        for batch in batches:
            window.push(batch)
            while window.full():
                yield from window.pop()
        while window.batches:
            yield from window.pop()
    except BaseException:  # Ctrl-C, or nobody wants the rest
        window.kill()
        raise
    window.close()


class _Window:
    """The batches under way, in order, and the pool that works on them.

    If a worker dies, the pool is gone. All that it had not finished is then done in one process a
    file, so that the death costs the file that caused it; what comes after gets a new pool.
    """

    def __init__(self, jobs: int) -> None:
        self.batches: deque[_Batch] = deque()
        self._jobs = jobs
        self._pool: Pool | None = None
        self._broken = False

    def push(self, batch: _Batch) -> None:
        from bncodemod.sweep.pool import BrokenProcessPool, Pool

        self.batches.append(batch)
        if not batch.tasks:
            return
        self._pool = self._pool or Pool(self._jobs)
        try:
            batch.future = self._pool.submit(batch.tasks)
        except BrokenProcessPool:
            self._broken = True

    def full(self) -> bool:
        """Whether the first batch must go before the next may come."""
        return self._broken or len(self.batches) > BATCHES_PER_WORKER * self._jobs

    def pop(self) -> Iterator[FileResult | None]:
        """The results of the first batch."""
        from bncodemod.sweep.pool import BrokenProcessPool

        batch = self.batches.popleft()
        results: Iterable[FileResult | None] | None = None
        try:
            if batch.future is not None:
                results = batch.future.result()
        except BrokenProcessPool:
            self._broken = True
        if self._broken:
            # The pool's threads must be gone before other processes are forked.
            self.kill()
            self._broken = bool(self.batches)
        yield from batch.filled(map(_alone, batch.tasks) if results is None else results)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()

    def kill(self) -> None:
        if self._pool is not None:
            self._pool.kill()
            self._pool = None


def _alone(task: Task) -> FileResult | None:
    """Rewrite a file that may have killed a worker."""
    from bncodemod.sweep.pool import rewrite_alone

    data = read(task[0])
    if isinstance(data, FileResult):
        return data
    return rewrite_alone(task) if may_hold_site(data, EMPTY_INDEX) else None


def _written(result: FileResult) -> FileResult:
    """Put a result's bytes in the file's place; where that fails, nothing in it is rewritten."""
    from bncodemod.sweep.write import replace

    assert result.after is not None
    try:
        replace(result.path, result.before, result.after)
    except Unwritable as error:
        findings = (
            dataclasses.replace(
                finding,
                status=Status.OPEN if finding.status is Status.REWRITTEN else finding.status,
                line_after=finding.line,
                message=f"not written: {error.message}",
                remedy=error.remedy,
                after="",
            )
            for finding in result.findings
        )
        return dataclasses.replace(
            result,
            after=None,
            findings=tuple(findings),
            errors=(*result.errors, error.at(result.path)),
        )
    return result
