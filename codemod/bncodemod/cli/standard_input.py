"""``bncodemod -``: standard input is rewritten to standard output."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from bncodemod.model import FileResult
from bncodemod.settings import Configuration
from bncodemod.sweep.run import rewrite_data
from bncodemod.sweep.walk import walk
from bncodemod.sweep.worker import rewrite


def rewrite_standard_input(
    configuration: Configuration, name: str | None, applied: bool
) -> Iterator[FileResult]:
    """The result of standard input, whose source goes to standard output if ``applied``."""
    data = sys.stdin.buffer.read()
    path = name or "<stdin>"
    result = None
    if not (name and configuration.force_exclude and _excluded(name, configuration)):
        if name:
            result = rewrite_data(data, path, configuration)
        else:
            result = rewrite(data, path, configuration.for_path(path))
    result = result or FileResult(path, data)
    if applied and not result.errors:
        output = sys.stdout.buffer
        output.write(result.before if result.after is None else result.after)
        output.flush()
    yield result


def _excluded(path: str, configuration: Configuration) -> bool:
    """Whether a pattern leaves out an existing file although it is named."""
    found = walk(
        [path],
        exclude=configuration.exclude,
        extend_exclude=configuration.extend_exclude,
        force_exclude=True,
        root=configuration.root,
    )
    return next(found, None) is None
