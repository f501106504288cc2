"""The files of a run of the verifier, and the sites in them: all that is read and not run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bncodemod.model import FileError, FileResult, Finding
from bncodemod.settings import Configuration
from bncodemod.source.errors import SourceError
from bncodemod.sweep.run import sweep
from bncodemod.sweep.walk import walk
from bncodemod.sweep.worker import paused_gc, read
from bncodemod.verify.model import ModuleResult, Site
from bncodemod.verify.originals import Originals
from bncodemod.verify.sites import WORDS, find_sites


@dataclass
class Sources:
    """By absolute path: the bytes of every file that can be read, the sites of those with some.

    ``names`` are the paths as they were given, or found below those that were; ``broken`` says
    what could not be read or parsed.
    """

    names: dict[str, str] = field(default_factory=dict)
    data: dict[str, bytes] = field(default_factory=dict)
    sites: dict[str, tuple[Site, ...]] = field(default_factory=dict)
    broken: dict[str, ModuleResult] = field(default_factory=dict)

    def all_sites(self) -> list[Site]:
        """The sites of all files, in path order."""
        return [site for path in sorted(self.sites) for site in self.sites[path]]


def read_files(paths: Sequence[str | os.PathLike[str]], configuration: Configuration) -> Sources:
    """The Python files below ``paths``, without their sites."""
    sources = Sources()
    for found in walk(
        paths,
        exclude=configuration.exclude,
        extend_exclude=configuration.extend_exclude,
        force_exclude=configuration.force_exclude,
        root=configuration.root,
    ):
        name = found.path if isinstance(found, FileError) else found
        path = os.path.abspath(name)
        sources.names[path] = name
        data = read(found) if isinstance(found, str) else FileResult(name, b"", errors=(found,))
        if isinstance(data, bytes):
            if not name.endswith(".pyi"):
                sources.data[path] = data
        else:
            sources.broken[path] = _broken(path, data.errors[0].message)
    return sources


def add_sites(
    sources: Sources,
    paths: Sequence[str | os.PathLike[str]],
    configuration: Configuration,
    originals: Originals,
    written: Mapping[str, Sequence[Finding]],
) -> None:
    """Find the sites of the files.

    ``originals`` is what stood in them before, ``written`` what the rewrite just done found, by
    absolute path.
    """
    findings: dict[str, tuple[Finding, ...]] = {}
    as_written = configuration.forced(
        strategy="no-running-stats", third_party="report", select=(), ignore=()
    )
    for result in sweep(paths, as_written, write=False):
        path = os.path.abspath(result.path)
        findings[path] = result.findings
        if result.errors:
            sources.broken[path] = _broken(path, result.errors[0].message)
    before = {os.path.realpath(path): data for path, data in originals.items()}
    for path, data in sources.data.items():
        if path not in sources.broken and (
            findings.get(path) or written.get(path) or any(word in data for word in WORDS)
        ):
            old = before.get(os.path.realpath(path), data) or b""
            _add(sources, path, findings.get(path, ()), old, written.get(path, ()))
    for path in sources.broken:
        sources.data.pop(path, None)  # nothing is to import it


def _add(
    sources: Sources,
    path: str,
    findings: Sequence[Finding],
    before: bytes,
    written: Sequence[Finding],
) -> None:
    try:
        with paused_gc():
            found = find_sites(sources.data[path], path, findings, before=before, written=written)
    except SourceError as error:
        sources.broken[path] = _broken(path, error.message)
        return
    if found:
        sources.sites[path] = found


def _broken(path: str, message: str) -> ModuleResult:
    return ModuleResult(path, f"it cannot be read as Python: {message}", unread=True)
