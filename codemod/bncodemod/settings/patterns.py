"""Patterns of paths that were typed in one folder and are read in another."""

from __future__ import annotations

import os
from collections.abc import Iterable


def anchored(patterns: Iterable[str], root: str) -> tuple[str, ...]:
    """Patterns that a user typed in the current folder, said relative to ``root``.

    As in .gitignore, a pattern without an inner slash matches at any depth and stays as it is.
    One that cannot match below ``root`` is left out.
    """
    said = (_anchor(pattern, os.getcwd(), root) for pattern in patterns)
    return tuple(pattern for pattern in said if pattern is not None)


def _anchor(pattern: str, current: str, root: str) -> str | None:
    from fnmatch import fnmatchcase

    negation = "!" if pattern.startswith("!") else ""
    body = pattern[len(negation) :]
    if os.path.isabs(body) and body.startswith(current + os.sep):
        body = body[len(current) :]
    while body.startswith("./"):
        body = body[2:]
    if "/" not in body.rstrip("/") or body.startswith("**/") or root == current:
        return negation + body
    body = body.lstrip("/")
    if current.startswith(root.rstrip(os.sep) + os.sep):
        return f"{negation}/{os.path.relpath(current, root)}/{body}"
    if not root.startswith(current.rstrip(os.sep) + os.sep):
        return negation + body
    for part in os.path.relpath(root, current).split(os.sep):
        head, _, body = body.partition("/")
        if head == "**":
            return f"{negation}**/{body}"
        if not body or not fnmatchcase(part, head):
            return None
    return f"{negation}/{body}"
