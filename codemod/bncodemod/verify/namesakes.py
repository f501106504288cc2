"""Modules of earlier jobs that a job must not be given: its imports would lead to other files.

Each job is to import what a process of its own would. What was there before the first job stays; of
what jobs have imported that stays to which the imports of the next one lead as well, unless it is a
user's and imports something that goes.
"""

from __future__ import annotations

import functools
import importlib.machinery
import os
import re
import sys
import sysconfig
from collections import defaultdict

from bncodemod.verify.looking import attribute, file_of

_FROM = re.compile(rb"^[ \t]*from[ \t]+(\w+)", re.MULTILINE)
_IMPORT = re.compile(rb"^[ \t]*import[ \t]+([^#;\n]+)", re.MULTILINE)
_TOP = re.compile(rb"\s*(\w+)")
_before = dict(sys.modules)  # when the worker begins, with what the file of examples imports


def forget_namesakes(name: str, root: str) -> None:
    """Drop what must not be found when ``name`` is imported from ``root``, now on sys.path."""
    put_back()
    loaded = _by_top_level()
    gone = {top for top in loaded if top not in _before and _leads_elsewhere(top)}
    own = name.partition(".")[0]
    if own in loaded and not _is_below(own, root):
        gone.add(own)
    if not gone:
        return
    users = (top for top in loaded if top not in _before and not _is_installed(top))
    imported = {top: set[str]().union(*map(_imported, loaded[top])) for top in users}
    while more := {top for top, names in imported.items() if names & gone} - gone:
        gone |= more
    for top in gone:
        for each in loaded[top]:
            del sys.modules[each]


def put_back() -> None:
    """Have what was there before stand where a job has put something else in its place."""
    tops = {name for name in _before if "." not in name and name != "__main__"}
    tops = {name for name in tops if sys.modules.get(name) is not _before[name]}
    if not tops:
        return
    for name in [name for name in sys.modules if name.partition(".")[0] in tops]:
        if name in tops or not _is_installed(name):
            del sys.modules[name]
    kept = {name: module for name, module in _before.items() if name.partition(".")[0] in tops}
    sys.modules.update(kept)


def _by_top_level() -> dict[str, list[str]]:
    loaded: dict[str, list[str]] = defaultdict(list)
    for name in sys.modules:
        loaded[name.partition(".")[0]].append(name)
    return {top: each for top, each in loaded.items() if top in sys.modules}


def _leads_elsewhere(name: str, path: list[str] | None = None) -> bool:
    """Whether an import would not give the module of this name that is loaded."""
    if not _places(name):  # made by code
        return False
    spec = _found(name, path)
    if spec is None:
        return not _is_installed(name)
    if file := file_of(sys.modules[name]):
        return spec.has_location and os.path.realpath(spec.origin or "") != file
    # The path of a package without a file follows sys.path: what it holds does not.
    folders = list(spec.submodule_search_locations or ())
    held = [each for each in sys.modules if each.rpartition(".")[0] == name]
    return any(_leads_elsewhere(each, folders) for each in held)


def _found(name: str, path: list[str] | None) -> importlib.machinery.ModuleSpec | None:
    """Where an import would find a module that is not loaded."""
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(name, path)
        except Exception:
            continue
        if spec is not None:
            return spec
    return None


def _places(name: str) -> set[str]:
    """The file of a module, and the folders of a package."""
    module = sys.modules[name]
    try:
        folders = {os.path.realpath(folder) for folder in attribute(module, "__path__") or ()}
    except Exception:  # it is no module, but what one has put there
        folders = set()
    return {file_of(module), *folders} - {""}


def _is_below(top: str, root: str) -> bool:
    folder = os.path.join(os.path.realpath(root), "")
    return any(place.startswith(folder) for place in _places(top))


def _is_installed(name: str) -> bool:
    return any(map(is_installed, _places(name)))


def is_installed(path: str) -> bool:
    """Whether a file is of the environment, or of this package: such ones import no user's."""
    return path.startswith(_OWN) or bool(_ENVIRONMENT & set(path.split(os.sep)))


_OWN = tuple(
    os.path.join(os.path.realpath(folder), "")
    for folder in (sysconfig.get_path("stdlib"), os.path.dirname(os.path.dirname(__file__)))
)
_ENVIRONMENT = {"site-packages", "dist-packages"}


def _imported(name: str) -> frozenset[str]:
    """The top-level names that a loaded module's source imports, wherever it does so."""
    return _imports(file_of(sys.modules.get(name)))


@functools.cache
def _imports(path: str) -> frozenset[str]:
    if not path.endswith(".py"):
        return frozenset()
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return frozenset()
    names = _FROM.findall(data)
    for several in _IMPORT.findall(data):
        names += [found[1] for each in several.split(b",") if (found := _TOP.match(each))]
    return frozenset(name.decode(errors="replace") for name in names)
