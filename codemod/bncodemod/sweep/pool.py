"""Worker processes: many at once, and one alone for a file that may kill it."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from typing import TypeVar

from bncodemod.model import FileResult
from bncodemod.source.errors import InternalError
from bncodemod.sweep.guard import deep_line
from bncodemod.sweep.worker import (
    MAX_SECONDS,
    REPORT,
    Task,
    become_worker,
    failed,
    limit_time,
    read,
    rewrite,
    too_complex,
)

Item = TypeVar("Item")
Out = TypeVar("Out")

__all__ = ["BrokenProcessPool", "Pool", "forks", "rewrite_alone"]


def forks() -> bool:
    """Whether worker processes are forked; else they are spawned, at some 200 ms each.

    A fork copies one thread only, and the locks that others hold stay locked for ever: so it is
    for processes of a single thread. On macOS the system's own libraries start threads.
    """
    if sys.platform in ("win32", "darwin"):
        return False
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return threading.active_count() == 1


def _context() -> BaseContext:
    return multiprocessing.get_context("fork" if forks() else "spawn")


@contextlib.contextmanager
def _held_interrupt() -> Iterator[None]:
    """Ctrl-C waits meanwhile; processes started within never see it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Pool:
    """Worker processes that rewrite files; they start with the first files submitted."""

    def __init__(self, jobs: int) -> None:
        if forks():
            # Once here and not once in each worker; and the workers share its memory.
            for module in ("bncodemod.core", "bncodemod.engine", "libcst"):
                importlib.import_module(module)
        self._executor = ProcessPoolExecutor(
            jobs, mp_context=_context(), initializer=become_worker, initargs=(os.getpid(),)
        )

    def submit(
        self, function: Callable[[list[Item]], list[Out]], batch: list[Item]
    ) -> Future[list[Out]]:
        """Start on a batch. Raises BrokenProcessPool, as the future does, if a worker died."""
        with _held_interrupt():
            return self._executor.submit(function, batch)

    def close(self) -> None:
        """End the workers when they are done."""
        self._executor.shutdown()

    def kill(self) -> None:
        """End the workers now."""
        # Private, but the only way before Python 3.14, whose kill_workers does just this.
        processes = list((getattr(self._executor, "_processes", None) or {}).values())
        for process in processes:
            process.kill()
        self._executor.shutdown(cancel_futures=True)


def rewrite_alone(task: Task) -> FileResult | None:
    """Read and rewrite one file in a process of its own; its death is an error of this file."""
    context = _context()
    receiver, sender = context.Pipe(duplex=False)
    with receiver:
        with _held_interrupt():
            # Typeshed's BaseContext does not have what all contexts have.
            process = context.Process(  # type: ignore[attr-defined]
                target=_alone, args=(sender, task, os.getpid()), daemon=True
            )
            process.start()
        sender.close()
        try:
            result: FileResult | None = receiver.recv()
            return result
        except (EOFError, OSError):
            process.join()
            return _died(task[0], process.exitcode)
        finally:
            process.kill()
            process.join()


def _alone(sender: Connection, task: Task, parent: int) -> None:
    become_worker(parent)
    path, settings, index = task
    data = read(path)
    limit_time()
    sender.send(rewrite(data, path, settings, index) if isinstance(data, bytes) else data)


def _died(path: str, exitcode: int | None) -> FileResult:
    name = f"exit code {exitcode}"
    if exitcode is not None and exitcode < 0:
        with contextlib.suppress(ValueError):
            name = signal.Signals(-exitcode).name
    if name == "SIGKILL":
        message = "the process that rewrote it was killed (SIGKILL): most likely out of memory"
        return failed(path, InternalError(message, remedy="exclude the file, or free memory"))
    data = read(path)
    if isinstance(data, FileResult):
        return data
    if name == "SIGVTALRM":
        message = f"LibCST's parser takes longer than {MAX_SECONDS} seconds on it"
        return failed(path, too_complex(data, message))
    if deep_line(data):
        return failed(path, too_complex(data, f"nested deeper than LibCST can follow ({name})"))
    return failed(path, InternalError(f"the process that rewrote it died ({name})", remedy=REPORT))
