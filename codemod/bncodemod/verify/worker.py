"""A process that examines modules for the driver: the user's code runs here and nowhere else.

It is started with its output in a file and no standard input, and leads a session of its own, so
that it can be killed with all that the user's code starts. What holds where: time limits, captured
output and the end of all processes on every POSIX system; the memory limit on Linux.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import os
import platform
import runpy
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Client, Connection
from typing import Any

from bncodemod.verify.errors import INSTALL, NO_TORCH
from bncodemod.verify.model import Event, Example, Job
from bncodemod.verify.protocol import ADDRESS, CUT_OFF, KEY, Finished, Hello, Setup
from bncodemod.verify.refusal import in_a_line

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_LOOK = 0.5  # seconds between two looks whether the driver is there

Examine = Callable[[Job, Callable[[Event], None]], None]


def main() -> None:
    """Work until the driver hangs up."""
    _shield()
    connection = Client(os.environ.pop(ADDRESS), authkey=bytes.fromhex(os.environ.pop(KEY)))
    worker = _Worker(connection)
    code = 0
    try:
        worker.run()
    except (EOFError, ConnectionError):  # the driver is gone: the group is about to be ended
        time.sleep(2 * _LOOK)
    except OSError:
        code = CUT_OFF
    finally:
        # Not by way of atexit: threads and handlers of the user's code may never end.
        os._exit(code)


def _shield() -> None:
    """Ctrl-C is the driver's business; a crash says where; nothing outlives the driver."""
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32":
        import resource

        _guard_group()
        _die_with_parent()
        faulthandler.register(signal.SIGUSR1, all_threads=False)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _guard_group() -> None:
    """Have another process end what this one has started when this one ends.

    The thread of ``_end_with`` cannot where Linux ends this process with the driver, nor while the
    user's code holds the interpreter's lock. The guard is no child that the user's code might wait
    for, and of another session, so that what is sent to the group does not reach it.
    """
    if sys.platform != "linux":
        return
    try:
        worker = os.pidfd_open(os.getpid())
    except OSError:  # an old kernel
        return
    group = os.getpid()
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        os.close(worker)
        return
    try:
        os.setsid()
        if os.fork() == 0:
            select.select([worker], [], [])
            os.killpg(group, signal.SIGKILL)
    finally:
        os._exit(0)


def _die_with_parent() -> None:
    """Ask Linux to end this process with the driver, even while it is stopped."""
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_with(driver: int) -> None:
    while os.getppid() == driver:
        time.sleep(_LOOK)
    os.killpg(os.getpgid(0), signal.SIGKILL)


class _Worker:
    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        self._process = os.getpid()
        self._forked = 0
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_parent=self._note_fork)

    def run(self) -> None:
        setup = self._connection.recv()
        hello = greeting(setup)
        self._send(hello)
        if hello.error:
            return
        examine = _function(setup.examine)
        # What is imported by now stays.
        from bncodemod.verify.namesakes import put_back
        from bncodemod.verify.process_state import changes, state

        before = state()
        while True:
            job = self._connection.recv()
            self._forked = 0
            trace = self._work(examine, job)
            put_back()
            self._send(Finished(self._forked, tuple(changes(before)), trace))

    def _work(self, examine: Examine, job: Job) -> str:
        state = os.getcwd(), sys.path[:], dict(os.environ)
        sys.argv[:] = [job.path]  # as for a script that is called without arguments
        try:
            examine(job, self._send)
        except BaseException:  # SystemExit too: a module must not end its worker
            return traceback.format_exc()
        finally:
            self._end_if_copy()
            _restore(*state)
        return ""

    def _send(self, message: Event | Hello | Finished) -> None:
        self._end_if_copy()
        with contextlib.suppress(Exception):  # the user's code may have put anything in its place
            sys.stdout.flush()
            sys.stderr.flush()
        self._connection.send(message)

    def _end_if_copy(self) -> None:
        """End a process that the user's code forked: the driver hears of one only."""
        if os.getpid() != self._process:
            os._exit(0)

    def _note_fork(self) -> None:
        self._forked += 1


def greeting(setup: Setup) -> Hello:
    """Import torch and run the user's file of examples."""
    try:
        import torch
    except ModuleNotFoundError as error:
        return Hello(error=f"{NO_TORCH}: {error}", remedy=INSTALL)
    except Exception as error:
        return Hello(
            error=f"torch cannot be imported: {in_a_line(error)}",
            remedy=f"see whether {sys.executable} -c 'import torch' works",
            trace=traceback.format_exc(),
        )
    try:
        examples = read_examples(setup.examples) if setup.examples else ()
    except BaseException as error:
        return Hello(
            error=f"{setup.examples} failed: {in_a_line(error)}",
            remedy="correct the file of examples",
            trace=traceback.format_exc(),
        )
    versions = {"torch": str(torch.__version__), "python": platform.python_version()}
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    cards = tuple(torch.cuda.get_device_name(number) for number in range(count))
    if cards:
        versions["cuda"] = str(torch.version.cuda)
    from bncodemod.verify.comparing import TOLERANCE

    tolerance = {str(dtype).removeprefix("torch."): off for dtype, off in TOLERANCE.items()}
    return Hello(versions, cards, examples, tolerance)


def read_examples(path: str) -> tuple[Example, ...]:
    """Run a file of examples and give what its ``EXAMPLES`` holds."""
    folder = os.path.dirname(os.path.abspath(path))
    sys.path.insert(0, folder)
    try:
        # Kept alive: what it registers with torch may hang on its global variables.
        _keep.append(runpy.run_path(path, run_name="bncodemod_examples"))
    finally:
        del sys.path[0]
    examples = tuple(_keep[-1].get("EXAMPLES", ()))
    for example in examples:
        if not isinstance(example, Example):
            raise TypeError(f"EXAMPLES holds {example!r}, which is no bncodemod.verify.Example")
    return tuple(example.said_in(folder) for example in examples)


_keep: list[dict[str, Any]] = []


def _function(name: str) -> Examine:
    module, _, function = name.partition(":")
    found: Examine = getattr(importlib.import_module(module), function)
    return found


def _restore(folder: str, path: list[str], environment: dict[str, str]) -> None:
    """Undo what a module did to its process, as far as the next one would notice."""
    os.chdir(folder)
    sys.path[:] = path
    if dict(os.environ) != environment:
        os.environ.clear()
        os.environ.update(environment)
