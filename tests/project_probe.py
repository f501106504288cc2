"""Builds what a project's ``main.py`` builds, in a process of its own; for test_projects.py."""

from __future__ import annotations

import importlib
import inspect
import multiprocessing
import os
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


def probe(folder: Path) -> dict[str, Any]:
    """How many modules are built, and by which lines the norms came that keep running statistics.

    These are the lines of the calls that were running, and those of the classes, each with its path
    from the current folder. Processes are forked off one that has imported torch, which takes
    longer than most projects; one that brings a torch of its own begins from nothing.
    """
    has_torch = (folder / "torch").is_dir()
    context = multiprocessing.get_context("spawn" if has_torch else "forkserver")
    if not has_torch:
        context.set_forkserver_preload(["torch"])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(folder, os.getcwd(), sender))
    process.start()
    sender.close()
    try:
        answer = receiver.recv()
    except EOFError:
        answer = "the process died"
    process.join()
    assert isinstance(answer, dict), answer
    return answer


def _send(folder: Path, top: str, sender: Connection) -> None:
    try:
        sender.send(_built(folder, top + os.sep))
    except BaseException:
        sender.send(traceback.format_exc())


def _built(folder: Path, top: str) -> dict[str, Any]:
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    _note_lines()
    built = importlib.import_module("main").modules()
    tracking = [
        _came_by(module, top)
        for model in built
        if hasattr(model, "modules")
        for module in model.modules()
        if getattr(module, "running_mean", None) is not None
    ]
    return {"built": len(built), "tracking": tracking}


def _note_lines() -> None:
    """Have every norm note the lines of the calls that build it."""
    try:
        base = importlib.import_module("torch.nn.modules.batchnorm")._NormBase
    except ImportError:  # a torch of the project's own
        return
    original = base.__init__

    def init(norm: Any, *args: Any, **kwargs: Any) -> None:
        frame, lines = inspect.currentframe(), []
        while frame := frame and frame.f_back:
            lines.append((frame.f_code.co_filename, frame.f_lineno))
        original(norm, *args, **kwargs)
        norm.__dict__["came_by"] = lines

    base.__init__ = init


def _came_by(norm: Any, top: str) -> list[tuple[str, int]]:
    lines = norm.__dict__.get("came_by", [])
    for cls in type(norm).__mro__:
        if str(getattr(sys.modules.get(cls.__module__), "__file__", "")).startswith(top):
            lines.append((inspect.getsourcefile(cls), inspect.getsourcelines(cls)[1]))
    return [(path[len(top) :], line) for path, line in lines if path.startswith(top)]
