"""The sources as they stood before: a folder that looks like the project did then."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping

from bncodemod.settings import ConfigurationError

# None: there was no such file.
Originals = Mapping[str, "bytes | None"]


def from_git(paths: Iterable[str], revision: str) -> dict[str, bytes | None]:
    """What the Python files of the repositories around ``paths`` that changed since held then.

    Raises ConfigurationError where there is no repository or no such revision.
    """
    folders = {os.path.dirname(os.path.realpath(path)) for path in paths}
    tops = {folder: _top(folder) for folder in sorted(folders)}
    for folder, top in tops.items():
        if not top:
            raise ConfigurationError(folder, "", "--against needs a git repository around it")
    return {
        os.path.join(top, *name.split("/")): _content(top, revision, name)
        for top in sorted(set(tops.values()))
        for name in _changed(top, revision)
    }


def _top(folder: str) -> str:
    return os.fsdecode(_git(folder, "rev-parse", "--show-toplevel") or b"").rstrip("\n")


def _changed(top: str, revision: str) -> list[str]:
    """The Python files that are not what they were, as git names them."""
    if _git(top, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}") is None:
        raise ConfigurationError(top, "", f"git knows no revision {revision}")
    changed = _git(top, "diff", "--name-only", "--no-renames", "-z", revision) or b""
    untracked = _git(top, "ls-files", "--others", "--exclude-standard", "-z") or b""
    names = map(os.fsdecode, (changed + untracked).split(b"\0"))
    return [name for name in names if name.endswith(".py")]


def _content(top: str, revision: str, name: str) -> bytes | None:
    return _git(top, "cat-file", "blob", f"{revision}:{name}")


def _git(folder: str, *arguments: str) -> bytes | None:
    """What git says; None where it fails."""
    try:
        done = subprocess.run(
            ["git", "-C", folder, *arguments], capture_output=True, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise ConfigurationError("", "", "--against needs git, which is not installed") from None
    return done.stdout if done.returncode == 0 else None


def mirror(root: str, originals: Originals, folder: str) -> str:
    """A copy of the folder ``root`` below ``folder``, with the files as they stood before.

    Links stand for what is the same, so that data and compiled modules are there too.
    """
    top = os.path.join(folder, f"{len(os.listdir(folder))}-{os.path.basename(root) or 'root'}")
    real = os.path.join(os.path.realpath(root), "")
    within = {
        path.removeprefix(real): data
        for path, data in ((os.path.realpath(path), data) for path, data in originals.items())
        if path.startswith(real)
    }
    _mirror(root, top, within)
    return top


def _mirror(there: str, here: str, within: Mapping[str, bytes | None]) -> None:
    os.makedirs(here)
    below: dict[str, dict[str, bytes | None]] = defaultdict(dict)
    for name, data in within.items():
        first, _, rest = name.partition(os.sep)
        if rest:
            below[first][rest] = data
        elif data is not None:
            with open(os.path.join(here, name), "wb") as file:
                file.write(data)
    for name in os.listdir(there) if os.path.isdir(there) else ():
        source, target = os.path.join(there, name), os.path.join(here, name)
        if name in below:
            _mirror(source, target, below.pop(name))
        elif name not in within and name != "__pycache__":
            _link(source, target)
    for name, gone in below.items():  # folders that are there no more
        _mirror(os.path.join(there, name), os.path.join(here, name), gone)


def _link(source: str, target: str) -> None:
    with contextlib.suppress(OSError):
        os.symlink(source, target)
        return
    if os.path.isdir(source):  # where links need rights that a user may not have
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)
