"""Pass one of a sweep: which files may hold a site, and what others may have to know of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bncodemod.model import FileResult
from bncodemod.scan.index import EMPTY_INDEX, ProjectIndex
from bncodemod.scan.prefilter import (
    INSTANCE_NORM,
    may_hold_site,
    may_hold_transform,
    may_load_weights,
)
from bncodemod.sweep.worker import failed, internal_error, paused_gc, read

if TYPE_CHECKING:
    from bncodemod.scan.reading import Task
    from bncodemod.scan.summary import Summary

# What begins with letters is searched for ten times as fast; what is found is read properly.
_STAR = re.compile(rb"import\s*\(?\s*\*")


@dataclass(frozen=True, slots=True)
class Seen:
    """One file at first sight: what is wrong with it, or whether it may hold a site.

    ``transforms`` says whether models may be called under a transform in it, ``loads`` whether it
    may load weights into models.
    """

    path: str
    failed: FileResult | None = None
    candidate: bool = False
    transforms: bool = False
    loads: bool = False
    size: int = 0
    stars: tuple[str, ...] = ()
    summary: Summary | None = None

    def is_rewritten(self, known: ProjectIndex) -> bool:
        """Whether it may hold a site, given what it needs to know of other files."""
        return self.candidate or bool(known.words) or known.has_demands


def look(paths: Sequence[str], *, summaries: bool) -> list[Seen]:
    """Read files; with ``summaries``, summarise those that others may have to know of."""
    return [look_at_file(path, summaries=summaries) for path in paths]


def look_at_file(path: str, *, summaries: bool) -> Seen:
    """Read and look at one file."""
    data = read(path)
    if isinstance(data, FileResult):
        return Seen(path, failed=data)
    return look_at(data, path, summaries=summaries)


def look_at(data: bytes, path: str, *, summaries: bool) -> Seen:
    """Look at the bytes of one file."""
    candidate, transforms = may_hold_site(data, EMPTY_INDEX), may_hold_transform(data)
    seen = Seen(path, None, candidate, transforms, may_load_weights(data), len(data))
    if not summaries:
        return seen
    if candidate or INSTANCE_NORM in data:
        try:
            return replace(seen, summary=summary_of(data, path))
        except Exception as error:  # a bug: this file must not end the sweep
            return Seen(path, failed(path, internal_error(error)))
    if b"*" in data and _STAR.search(data):
        from bncodemod.scan.outline import Outline

        stars = tuple("." * item.level + item.module for item in Outline(data).stars)
        return replace(seen, stars=stars)
    return seen


def summarise_files(tasks: Sequence[tuple[str, Task]]) -> list[Summary | None]:
    """The summaries of files, each given with the name under which it is spoken of."""
    found: list[Summary | None] = []
    for shown, task in tasks:
        data = read(task.path)
        summary = None
        # What fails here has been summarised before, or is not to be rewritten: then it is unknown.
        with suppress(Exception):
            summary = summary_of(data, shown, task) if isinstance(data, bytes) else None
        found.append(summary)
    return found


def summary_of(data: bytes, path: str, task: Task | None = None) -> Summary | None:
    """The summary of a file, of what a task asks for; None if the file is too large."""
    from bncodemod.core import MAX_BYTES
    from bncodemod.scan.summarise import summarise

    if len(data) > MAX_BYTES:
        return None
    with paused_gc():
        if task is None:
            return summarise(data, path)
        return summarise(data, path, task.requests, task.index)
