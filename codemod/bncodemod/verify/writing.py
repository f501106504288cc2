"""Keeps the user's files as they are while code of theirs runs that nobody has asked to write.

A function that trains saves a checkpoint, and may well make room for it first. What is opened for
writing is a copy in a folder that goes with the job, so that such code runs on; what would remove
or rename files, or starts a program that does, is refused.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from bncodemod.verify.errors import ChangesFiles
from bncodemod.verify.offline import replaced

_WRITING = re.compile("[wax+]")
_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# The events that Python raises for what changes files, with the places of their names.
_CHANGES = {
    "open": (0,),
    "os.chmod": (0,),
    "os.chown": (0,),
    "os.link": (1,),
    "os.mkdir": (0,),
    "os.remove": (0,),
    "os.rename": (0, 1),
    "os.rmdir": (0,),
    "os.symlink": (1,),
    "os.truncate": (0,),
    "shutil.rmtree": (0,),
}
_OF_WHAT_IS_THERE = _CHANGES.keys() - {"open", "os.link", "os.mkdir", "os.symlink"}
_COMMANDS = frozenset({"os.system", "subprocess.Popen"})
_SEEN = _COMMANDS | _CHANGES.keys()
_CHANGING_COMMAND = re.compile(
    r"(?:^|[\s;&|/(])(?:rm|mv|cp|ln|mkdir|rmdir|touch|tee|dd|tar|unzip|wget|curl|pip3?|conda)\s"
    r"|>(?!\s*/dev/null|&)"
)
_CACHES = ("XDG_CACHE_HOME", "TORCH_HOME", "HF_HOME", "MPLCONFIGDIR", "PYTHONPYCACHEPREFIX")
_MOST_COPIED = 1 << 26
_DEVICES = ("/dev", "/proc")


class Writing:
    """What is written, and where to: ``folder`` holds it, and ``own`` are the user's folders."""

    def __init__(self, folder: str, own: tuple[str, ...]) -> None:
        self.diverted: dict[str, str] = {}  # by the real paths
        self.refused: dict[str, None] = {}
        self._made: list[str] = []
        self._folder = os.path.realpath(folder)
        self._free = (self._folder, *_DEVICES, *_caches({os.path.realpath(each) for each in own}))

    def to_open(self, file: Any, mode: str) -> Any:
        """What to open in place of a file: its copy, if it is to be written, or was."""
        if not isinstance(file, (str, bytes, os.PathLike)):
            return file
        is_written = _WRITING.search(mode) is not None
        if not is_written and not self.diverted:
            return file
        path = _real(file)
        if path not in self.diverted and is_written and not self._is_free(path):
            self._divert(path, is_kept="w" not in mode)
        return self.diverted.get(path, file)

    def _divert(self, path: str, *, is_kept: bool) -> None:
        if _cannot_be_opened(path):
            return
        if is_kept and os.path.exists(path) and os.path.getsize(path) > _MOST_COPIED:
            return  # a memory map, as like as not: it is refused
        number = len(self.diverted)
        copy = os.path.join(self._folder, f"{number}-{os.path.basename(path)}")
        if is_kept and os.path.exists(path):
            shutil.copyfile(path, copy)
        self.diverted[path] = copy

    def see(self, event: str, args: tuple[Any, ...]) -> None:
        """Refuse what would change a user's files. Raises ChangesFiles."""
        if event in _COMMANDS:
            self._see_command(args[0] if event == "os.system" else args[1])
            return
        if event == "open" and not (isinstance(args[2], int) and args[2] & _FLAGS):
            return
        if event in _OF_WHAT_IS_THERE and not _is_there(args[0]):
            return
        for place in _CHANGES[event]:
            if not isinstance(args[place], (str, bytes, os.PathLike)) or _is_relative(event, args):
                continue  # what is open already, or in a folder that is
            path = _real(args[place])
            if self._is_free(path) or (event == "open" and _cannot_be_opened(path)):
                continue
            if event == "os.mkdir":
                if not os.path.lexists(path):
                    self._made.append(path)
                continue
            if _VERBS.get(event) == "remove" and _is_below(path, tuple(self._made)):
                continue
            self._refuse(f"{_VERBS.get(event, 'change')} {shown(path)}")

    def _see_command(self, command: Any) -> None:
        words = [command] if isinstance(command, (str, bytes, os.PathLike)) else [*command]
        line = " ".join(map(os.fsdecode, words))
        if _CHANGING_COMMAND.search(f"{line} "):
            self._refuse(f"run `{line}`")

    def _refuse(self, what: str) -> None:
        self.refused[what] = None
        raise ChangesFiles(f"the verifier does not let it {what}")

    def _is_free(self, path: str) -> bool:
        return os.path.basename(os.path.dirname(path)) == "__pycache__" or _is_below(
            path, self._free
        )

    def notes(self) -> Iterator[str]:
        """What the report should say of it."""
        if self.diverted:
            yield f"what it wrote was not kept: {', '.join(map(shown, self.diverted))}"
        if self.refused:
            yield f"it was not let {', nor '.join(self.refused)}"

    def clear(self) -> None:
        """Remove the folders that were made; nothing is in them."""
        for folder in reversed(self._made):
            with contextlib.suppress(OSError):
                os.rmdir(folder)


_VERBS = {"os.remove": "remove", "os.rmdir": "remove", "shutil.rmtree": "remove", "open": "write"}
_now: list[Writing] = []  # the hook can never be taken away


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event in _SEEN and _now:
        _now[-1].see(event, args)


@contextmanager
def nothing_written(own: tuple[str, ...]) -> Iterator[Writing]:
    """While open, what is written goes to a folder of its own; ``own`` are the user's folders."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bncodemod-"))
        writing = Writing(folder, (*own, os.getcwd()))
        stack.enter_context(replaced(tempfile, "tempdir", folder))
        for holder, name, change in _openers(writing):
            stack.enter_context(replaced(holder, name, change(getattr(holder, name))))
        _watch()
        _now.append(writing)
        stack.callback(writing.clear)
        stack.callback(_now.remove, writing)
        yield writing


def _watch() -> None:
    if not _watched:
        sys.addaudithook(_hook)
        _watched.append(True)


_watched: list[bool] = []


def _openers(writing: Writing) -> Iterator[tuple[Any, str, Callable[[Any], Any]]]:
    """What opens a file by its name, as Python does and as C++ does past it."""

    def opening(slow: Callable[..., Any]) -> Callable[..., Any]:
        def open_(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            return slow(writing.to_open(file, mode), mode, *args, **kwargs)

        return open_

    def naming(place: int) -> Callable[[Any], Any]:
        def change(slow: Callable[..., Any]) -> Callable[..., Any]:
            def write(*args: Any, **kwargs: Any) -> Any:
                given = list(args)
                if len(given) > place:
                    given[place] = writing.to_open(given[place], "w")
                return slow(*given, **kwargs)

            return write

        return change

    yield builtins, "open", opening
    yield io, "open", opening
    yield torch._C, "PyTorchFileWriter", naming(0)
    if hasattr(torch.jit, "RecursiveScriptModule"):
        yield torch.jit.RecursiveScriptModule, "save", naming(1)
    for name in ("safetensors.torch", "safetensors.numpy"):
        if hasattr(sys.modules.get(name), "serialize_file"):
            yield sys.modules[name], "serialize_file", naming(1)


def shown(path: str) -> str:
    """A path for the report: from the current folder, if it is below it."""
    below = os.path.relpath(path)
    return path if below.startswith(os.pardir) else below


def _real(file: Any) -> str:
    return os.path.realpath(os.fsdecode(file))


def _is_there(file: Any) -> bool:
    return not isinstance(file, (str, bytes, os.PathLike)) or os.path.lexists(file)


def _is_relative(event: str, args: tuple[Any, ...]) -> bool:
    """Whether a name is one in a folder that is open, as where a tree is removed."""
    return event in ("os.remove", "os.rmdir", "shutil.rmtree") and args[-1] not in (-1, None)


def _cannot_be_opened(path: str) -> bool:
    """Whether opening a file raises what the user's code may well expect."""
    return not os.path.isdir(os.path.dirname(path)) or os.path.isdir(path)


def _is_below(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(f"{folder}{os.sep}") for folder in folders)


def _caches(own: set[str]) -> list[str]:
    """The folders of programs, as ``~/.cache``, but for one that the user's code lies in."""
    home = os.path.realpath(os.path.expanduser("~"))
    named = [os.environ[name] for name in _CACHES if os.environ.get(name)]
    with contextlib.suppress(OSError):
        hidden = (entry for entry in os.scandir(home) if entry.name.startswith("."))
        named += [entry.path for entry in hidden if entry.is_dir()]
    found = map(os.path.realpath, named)
    return [folder for folder in found if not any(_is_below(each, (folder,)) for each in own)]


with contextlib.suppress(Exception):  # they write past Python, and are bound by name
    import safetensors.numpy
    import safetensors.torch  # noqa: F401
