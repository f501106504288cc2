"""Imports a job's module by its name, and its original in its place for a while."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from torch import _jit_internal

from bncodemod.verify.instrument import Finder
from bncodemod.verify.looking import file_of
from bncodemod.verify.model import Job
from bncodemod.verify.namesakes import forget_namesakes
from bncodemod.verify.offline import offline


def load(job: Job, finder: Finder) -> ModuleType:
    """The job's module, imported now or for an earlier job. Raises what its import raises."""
    _put_on_path((job.root, *job.folders))
    for name in _strays - {job.name}:
        sys.modules.pop(name, None)
    forget_namesakes(job.name, job.root)
    loaded = sys.modules.get(job.name)
    if loaded is not None and _is_at(loaded, job.path):
        return loaded
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(job.name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{job.name}.".startswith(f"{error.name}."):
            raise
    else:
        if _is_at(module, job.path):
            return module
    return _from_file(job, finder)


@contextmanager
def originals(job: Job) -> Iterator[ModuleType | Exception]:
    """The original of the job's module; while this is open, the originals are what is imported.

    They bear the names of the rewritten modules, which are put aside meanwhile; once imported they
    are kept for the next time. An exception is what the import has raised.
    """
    tops = {_top(path, job.root) for path in (job.path, *(s.path for s in job.other_sites))}
    tops.discard("")
    aside = _taken_out(tops)
    sys.modules.update(_originals.get(job.original_root, {}))
    path = sys.path[:]
    sys.path.insert(0, job.original_root)
    importlib.invalidate_caches()
    try:
        yield _imported(job.name)
    finally:
        sys.path[:] = path
        _originals[job.original_root] = _taken_out(tops)
        sys.modules.update(aside)
        importlib.invalidate_caches()


_originals: dict[str, dict[str, ModuleType]] = {}  # the modules below each folder of originals


def _imported(name: str) -> ModuleType | Exception:
    # torch.jit remembers overloaded methods by the names of their classes, which are the same here.
    tables = [getattr(_jit_internal, table, {}) for table in _OVERLOADED]
    saved = [dict(table) for table in tables]
    for table in tables:
        table.clear()
    try:
        with offline():
            return importlib.import_module(name)
    except Exception as error:
        return error
    finally:
        for table, before in zip(tables, saved, strict=True):
            table.clear()
            table.update(before)


_OVERLOADED = ("_overloaded_methods", "_overloaded_method_class_fileno")


def _taken_out(tops: set[str]) -> dict[str, ModuleType]:
    return {name: sys.modules.pop(name) for name in _below(tops)}


def _below(tops: set[str]) -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] in tops]


def _top(path: str, root: str) -> str:
    """The top-level package or module that holds a file below ``root``; empty if none does."""
    below = os.path.relpath(os.path.realpath(path), os.path.realpath(root))
    first = below.split(os.sep)[0]
    return "" if first == os.pardir else first.removesuffix(".py")


def _put_on_path(folders: tuple[str, ...]) -> None:
    for folder in reversed(folders):
        if folder in sys.path:
            sys.path.remove(folder)
        sys.path.insert(0, folder)


def _is_at(module: ModuleType, path: str) -> bool:
    return file_of(module) == os.path.realpath(path)


def _from_file(job: Job, finder: Finder) -> ModuleType:
    """A module that its name does not lead to: a script, or one behind a namesake."""
    spec = importlib.util.spec_from_file_location(job.name, job.path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{job.path} is no Python module")
    spec = finder.instrumented(spec) or spec
    module = importlib.util.module_from_spec(spec)
    sys.modules[job.name] = module
    try:
        assert spec.loader is not None
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[job.name]
        raise
    _strays.add(job.name)
    return module


_strays: set[str] = set()  # what stands where its name does not lead to
