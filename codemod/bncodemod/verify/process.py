"""The driver's end of a worker process: start it, hear it, see what became of it, kill it."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection, Listener
from multiprocessing.context import AuthenticationError
from typing import Any, BinaryIO

from bncodemod.verify.protocol import ADDRESS, CUT_OFF, KEY, Setup

# What a module prints is kept up to this size; the file is then begun anew.
MAX_OUTPUT = 4 * 2**20

_LAST_WORDS = 1.0  # seconds; a copy of the process may hold the connection open

# The current folder is no place to import torch from.
_START = (
    "import sys; sys.path[:] = [*filter(None, sys.path), sys.argv[1]];"
    " from bncodemod.verify.worker import main; main()"
)
_FRAME = re.compile(r'^ *File "(.+)", line (\d+) in ', re.MULTILINE)
# How the fault handler begins: asked where the process is, and at a crash.
_DUMP = re.compile(r"^(?:Stack \(most recent call first\):|Fatal Python error: )", re.MULTILINE)


class WorkerProcess:
    """A worker, from its start to its end."""

    def __init__(self, setup: Setup, threads: int = 1, news: threading.Event | None = None) -> None:
        """``news`` is set when there is something to hear."""
        self._setup = setup
        self._news = news or threading.Event()
        self._heard: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._output = _output_file()
        self._folder = tempfile.mkdtemp(prefix="bncodemod-")  # for what a job leaves when it dies
        key = secrets.token_bytes(16)
        self._listener = Listener(authkey=key)
        self._connection: Connection[Any, Any] | None = None
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-c", _START, _package_folder()],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env={
                # Threads that wait in a loop make others wait: several workers share the CPUs.
                "OMP_NUM_THREADS": str(threads),
                "OMP_WAIT_POLICY": "PASSIVE",
                **os.environ,
                "TMPDIR": self._folder,
                ADDRESS: str(self._listener.address),
                KEY: key.hex(),
                # cuBLAS is deterministic only if it is told before it starts.
                "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
            },
            start_new_session=True,
        )
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    def _listen(self) -> None:
        # In a thread: a worker that dies at once never calls, and one that is stopped in the middle
        # of a message never ends it.
        try:
            with contextlib.suppress(OSError, EOFError, AuthenticationError):
                self._connection = self._listener.accept()
                self._connection.send(self._setup)
                while True:
                    self._heard.put(self._connection.recv())
                    self._news.set()
        except Exception:  # what was written there is no message: the user's code has the file
            self._process.kill()

    def send(self, message: object) -> None:
        """Hand the worker a job; that it is dead shows later."""
        assert self._connection is not None
        with contextlib.suppress(OSError):
            self._connection.send(message)

    def messages(self, *, last: bool = False) -> Iterator[object]:
        """What the worker has said since; ``last`` waits for what it said before it ended."""
        if last:
            self._listening.join(_LAST_WORDS)
        with contextlib.suppress(queue.Empty):
            while True:
                yield self._heard.get_nowait()

    def death(self) -> str:
        """How the process ended; empty while it runs."""
        code = self._exit_code()
        if code is None:
            return ""
        if code == CUT_OFF:
            return "it closed the files of its process, as os.closerange does"
        if code >= 0:
            return f"the process ended itself with exit code {code}, as os._exit({code}) does"
        with contextlib.suppress(ValueError):
            return f"the process was killed by {signal.Signals(-code).name}"
        return f"the process was killed by signal {-code}"

    def _exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs.

        It is not reaped: as long as it is there, no other process can have its number, which
        ``kill`` uses.
        """
        if not hasattr(os, "waitid"):
            return self._process.poll()
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        ended = os.waitid(os.P_PID, self._process.pid, options)
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def memory(self) -> int:
        """The bytes that the process keeps in memory; 0 where that cannot be said."""
        try:
            with open(f"/proc/{self._process.pid}/statm", encoding="ascii") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError, IndexError):
            return 0

    def limit_output(self) -> None:
        """Begin the file of the output anew if it has grown too large."""
        if os.fstat(self._output.fileno()).st_size > MAX_OUTPUT:
            self.forget_output()

    def output(self) -> str:
        """What was printed since ``forget_output``."""
        self._output.seek(0)  # moves no writer: the file is appended to
        return self._output.read().decode("utf-8", "replace").lstrip("\0")

    def forget_output(self) -> None:
        """Empty the file of the output."""
        os.ftruncate(self._output.fileno(), 0)

    def where(self) -> str:
        """A trace of where the process is at this moment; empty if it does not answer."""
        before = len(self.output())
        with contextlib.suppress(OSError, AttributeError):
            os.kill(self._process.pid, signal.SIGUSR1)
            for _ in range(20):
                time.sleep(0.05)
                said = self.output()[before:]
                if _FRAME.search(said):
                    return said
        return ""

    def kill(self) -> None:
        """End the process, and what it has started, now."""
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        self._process.wait()
        self._listener.close()
        if self._connection is not None:
            self._connection.close()
        self._output.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def frames(trace: str) -> list[tuple[str, int]]:
    """The files and lines of a trace that the fault handler wrote, innermost first."""
    found = _FRAME.findall(trace)
    return [(path, int(line)) for path, line in found if not path.startswith("<")]  # <string>


def printed(output: str) -> str:
    """What the user's code wrote: the output up to what the fault handler added."""
    return _DUMP.split(output, 1)[0]


def _output_file() -> BinaryIO:
    descriptor, name = tempfile.mkstemp(prefix="bncodemod-")
    os.close(descriptor)
    # To append, or what is written after it was emptied would follow a hole.
    file = open(name, "a+b", buffering=0)  # noqa: SIM115  closed with the process
    with contextlib.suppress(OSError):  # an open file keeps its name on Windows
        os.unlink(name)
    return file


def _package_folder() -> str:
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
