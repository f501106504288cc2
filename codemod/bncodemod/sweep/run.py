"""A sweep: find the files, look at them all, rewrite those that may hold a site, and write.

Two passes over the files. The first holds each against the byte prefilter and summarises those
that others may have to know of; ``survey`` reduces that to what each needs to know of the others.
The second rewrites. Both are done on the spot if the files are few, but for those that look as if
they could kill the process, which get one of their own; else by worker processes, in batches of
about equal size and a bounded number at once. No file's text is kept, and results come in the order
of the paths.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial

from bncodemod.model import FileError, FileResult, Status
from bncodemod.scan.index import EMPTY_INDEX, ProjectIndex
from bncodemod.settings import Configuration
from bncodemod.source.errors import Unwritable
from bncodemod.sweep.crew import Crew
from bncodemod.sweep.first_look import Seen, look, look_at
from bncodemod.sweep.guard import is_risky
from bncodemod.sweep.survey import Survey
from bncodemod.sweep.walk import walk
from bncodemod.sweep.worker import Task, read, rewrite, rewrite_files

# Weight from which a pool pays, where workers are forked and where not: bytes of candidates, and
# of other files a part, because the prefilter takes its time as well.
POOL_PAYS_FORKED = 512 * 1024
POOL_PAYS_SPAWNED = 2048 * 1024
PREFILTER_SHARE = 8
BATCH_BYTES = 256 * 1024
BATCH_FILES = 200


def sweep(
    paths: Sequence[str | os.PathLike[str]],
    configuration: Configuration,
    *,
    write: bool,
    jobs: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    seconds: dict[str, float] | None = None,
    notes: list[str] | None = None,
) -> Iterator[FileResult]:
    """Rewrite the Python files under ``paths``.

    Yields, in the order of the paths, a result for each file with a change, a finding or an error.
    With ``write``, a change has been written when its result comes; one that could not be written
    comes with an error and without ``after``. No error of a file ends the sweep; a
    ConfigurationError does, before anything is written. ``on_progress`` is called in this thread
    with the number of files done and of all files. ``jobs`` is the number of worker processes at
    most: by default one for each processor that this process may use. ``seconds`` is filled with
    what each stage took: ``walk``, ``look``, ``index``, ``rewrite`` and ``write``. ``notes`` gets
    what the user should know of the sweep as a whole, before the first result comes.
    """
    seconds = {} if seconds is None else seconds
    seconds.update(dict.fromkeys(("walk", "look", "index", "rewrite", "write"), 0.0))
    with _timed(seconds, "walk"):
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
    crew = Crew(workers)
    try:
        plan = _plan(paths, found, configuration, crew, seconds, [] if notes is None else notes)
        with closing(_carried_out(plan, crew)) as outcomes:
            for done in range(1, len(found) + 1):
                with _timed(seconds, "rewrite"):
                    result = next(outcomes)
                if result is not None:
                    if write and result.after is not None:
                        with _timed(seconds, "write"):
                            result = _written(result)
                    yield result
                if on_progress is not None:
                    on_progress(done, len(found))
    except BaseException:  # Ctrl-C, or nobody wants the rest
        crew.kill()
        raise
    crew.close()


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[stage] += time.perf_counter() - start


def rewrite_data(data: bytes, path: str, configuration: Configuration) -> FileResult | None:
    """Rewrite bytes as if they were what stands in the file ``path``, which need not exist."""
    index = EMPTY_INDEX
    if configuration.project:
        seen = look_at(data, path, summaries=True)
        index = Survey([path], [seen], configuration, None, {path: data}).index(path)
    return rewrite(data, path, configuration.for_path(path), index)


def available_cpus() -> int:
    """The number of processors that this process may use."""
    if sys.version_info >= (3, 13):
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# What is left to do for each file, in order: nothing, or what is known of it already.
_Plan = list["FileResult | Task | None"]


def _plan(
    named: Sequence[str | os.PathLike[str]],
    found: list[str | FileError],
    configuration: Configuration,
    crew: Crew,
    seconds: dict[str, float],
    notes: list[str],
) -> _Plan:
    """Look at all files, and at what bears on them in the rest of their project."""
    with _timed(seconds, "look"):
        seen = list(_seen([item for item in found if isinstance(item, str)], configuration, crew))
    with _timed(seconds, "index"):
        index = _index(named, seen, configuration, crew, notes)
        looked = iter(seen)
        return [
            _erroneous(item)
            if isinstance(item, FileError)
            else _left_to_do(next(looked), configuration, index)
            for item in found
        ]


def _seen(paths: list[str], configuration: Configuration, crew: Crew) -> Iterator[Seen]:
    """A first look at each file, in order."""
    first_look = partial(look, summaries=configuration.project)
    batches = list(_batches(paths))
    if not _pool_pays(sum(size for _, size in batches) // PREFILTER_SHARE, crew.jobs):
        yield from first_look(paths)
        return
    for batch, results in crew.map(first_look, (batch for batch, _ in batches)):
        yield from (
            results if results is not None else (Seen(path, None, True, True) for path in batch)
        )


def _index(
    named: Sequence[str | os.PathLike[str]],
    seen: list[Seen],
    configuration: Configuration,
    crew: Crew,
    notes: list[str],
) -> Callable[[str], ProjectIndex]:
    """What each file needs to know of the others."""
    if not configuration.project:
        return lambda _: EMPTY_INDEX
    weight = sum(item.size for item in seen if item.candidate)
    helpers = crew if _pool_pays(weight, crew.jobs) else None
    survey = Survey(named, seen, configuration, helpers)
    notes += survey.notes
    return survey.index


def _left_to_do(
    seen: Seen, configuration: Configuration, index: Callable[[str], ProjectIndex]
) -> FileResult | Task | None:
    """What is left to do for a file: its error, a task, or nothing."""
    if seen.failed is not None:
        return seen.failed
    known, settings = index(seen.path), configuration.for_path(seen.path)
    if seen.is_rewritten(known) or known.brings_models or seen.transforms:
        return seen.path, settings, known
    return None


def _erroneous(error: FileError) -> FileResult:
    return FileResult(error.path, b"", errors=(error,))


def _pool_pays(weight: int, jobs: int) -> bool:
    if jobs < 2 or weight < POOL_PAYS_FORKED:
        return False
    if weight >= POOL_PAYS_SPAWNED:
        return True
    from bncodemod.sweep.pool import forks

    return forks()


def _here(item: FileResult | Task | None) -> FileResult | None:
    if item is None or isinstance(item, FileResult):
        return item
    data = read(item[0])
    if isinstance(data, FileResult):
        return data
    if is_risky(data):
        from bncodemod.sweep.pool import rewrite_alone

        return rewrite_alone(item)
    return rewrite(data, *item)


def _batches(paths: Iterable[str]) -> Iterator[tuple[list[str], int]]:
    """The paths in batches of about equal size, with their bytes."""
    batch: list[str] = []
    size = 0
    for path in paths:
        batch.append(path)
        with suppress(OSError):  # who reads it says why it cannot be read
            size += os.stat(path).st_size
        if size >= BATCH_BYTES or len(batch) >= BATCH_FILES:
            yield batch, size
            batch, size = [], 0
    if batch:
        yield batch, size


def _carried_out(plan: _Plan, crew: Crew) -> Generator[FileResult | None, None, None]:
    """The results of a plan, in order: by worker processes if the files are many."""
    tasks = {item[0]: item for item in plan if isinstance(item, tuple)}
    batches = list(_batches(tasks))
    if not _pool_pays(sum(size for _, size in batches), crew.jobs):
        crew.close()  # its threads must be gone before a file gets a process of its own
        yield from map(_here, plan)
        return
    done = _rewritten([[tasks[path] for path in batch] for batch, _ in batches], crew)
    for item in plan:
        yield next(done) if isinstance(item, tuple) else item


def _rewritten(batches: list[list[Task]], crew: Crew) -> Iterator[FileResult | None]:
    for batch, results in crew.map(rewrite_files, batches):
        # A worker's death costs the file that caused it: each gets a process of its own.
        yield from map(_alone, batch) if results is None else results


def _alone(task: Task) -> FileResult | None:
    """Rewrite a file that may have killed a worker."""
    from bncodemod.sweep.pool import rewrite_alone

    data = read(task[0])
    if isinstance(data, FileResult):
        return data
    return rewrite_alone(task)


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
