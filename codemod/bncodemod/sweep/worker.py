"""What is done with one file, in whichever process; and what a process that only works needs."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import signal
import sys
from collections.abc import Iterator, Sequence

from bncodemod.model import FileResult
from bncodemod.scan.index import EMPTY_INDEX, ProjectIndex
from bncodemod.settings import Settings
from bncodemod.source.errors import InternalError, SourceError, TooComplex
from bncodemod.sweep.guard import culprit_line
from bncodemod.sweep.walk import unreadable

# A path, the settings that hold for it and what it needs to know of other files.
Task = tuple[str, Settings, ProjectIndex]

MAX_SECONDS = 30

REPORT = "please report it with the file; exclude the file meanwhile"


def read(path: str) -> bytes | FileResult:
    """A file's bytes, or the result that says why they could not be read."""
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError as error:
        return failed(path, unreadable(error))


def failed(path: str, error: SourceError) -> FileResult:
    """The result of a file that could not be handled."""
    return FileResult(path, b"", errors=(error.at(path),))


def rewrite(
    data: bytes, path: str, settings: Settings, index: ProjectIndex = EMPTY_INDEX
) -> FileResult | None:
    """``core.rewrite``, or None where there is nothing to say.

    What escapes it, which is a bug, becomes an error of this file.
    """
    from bncodemod import core

    try:
        with paused_gc():
            result = core.rewrite(data, path, settings, index)
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except RecursionError:
        return failed(path, too_complex(data, "nested deeper than the parsers can follow"))
    except MemoryError:
        return failed(path, InternalError("out of memory", remedy="exclude the file"))
    except BaseException as error:  # a panic of LibCST's native parser is no Exception
        return failed(path, internal_error(error))
    if any(error.code == TooComplex.code and not error.line for error in result.errors):
        line = culprit_line(data)
        errors = (dataclasses.replace(error, line=error.line or line) for error in result.errors)
        result = dataclasses.replace(result, errors=tuple(errors))
    return result if result.after is not None or result.findings or result.errors else None


def internal_error(error: BaseException) -> InternalError:
    """The error of a file on which bncodemod itself failed, with the place to report."""
    message = " ".join(f"{type(error).__name__}: {error}".split())
    return InternalError(message + _place(error), remedy=REPORT)


def too_complex(data: bytes, message: str) -> TooComplex:
    """The error of a file on which the parsers gave up, at the line most likely to blame."""
    remedy = "split the expression, or exclude the file"
    return TooComplex(message, line=culprit_line(data), remedy=remedy)


def _place(error: BaseException) -> str:
    """Where an exception was raised, for a report: `` (scopes.py line 12)``."""
    place = error.__traceback__
    while place and place.tb_next:
        place = place.tb_next
    if not place:
        return ""
    return f" ({os.path.basename(place.tb_frame.f_code.co_filename)} line {place.tb_lineno})"


def rewrite_files(tasks: Sequence[Task]) -> list[FileResult | None]:
    """Read and rewrite files, in a worker."""
    results: list[FileResult | None] = []
    for path, settings, index in tasks:
        data = read(path)
        limit_time()
        results.append(
            data if isinstance(data, FileResult) else rewrite(data, path, settings, index)
        )
    # Collection is off in workers; what was there before the fork is frozen, so this is cheap.
    gc.collect()
    return results


@contextlib.contextmanager
def paused_gc() -> Iterator[None]:
    """No garbage collection meanwhile: it finds nothing in a growing tree, at 15 % of the time."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def limit_time() -> None:
    """End this process if the next file takes longer than MAX_SECONDS of processor time.

    LibCST's parser takes quadratic time on some generated code and cannot be interrupted; so the
    signal is left to kill.
    """
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_VIRTUAL, MAX_SECONDS)


def become_worker(parent: int) -> None:
    """Set up a process that works for the process ``parent`` and does nothing else."""
    # Ctrl-C reaches the whole group: the parent decides what becomes of its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32":
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # Workers of a parent that was killed would wait for work for ever.
        signal.signal(signal.SIGALRM, lambda *_: os.getppid() == parent or os._exit(1))
        signal.setitimer(signal.ITIMER_REAL, 1, 1)
    # A native parser's last words would stand between the lines of the report.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    gc.disable()
    gc.freeze()
