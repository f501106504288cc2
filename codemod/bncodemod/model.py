"""What the stages hand on: frozen dataclasses that pickle, no LibCST or torch object in them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Status(str, Enum):
    """What became of a site."""

    REWRITTEN = "rewritten"
    SAFE = "safe"
    OPEN = "open"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class Finding:
    """One site or hazard and what became of it.

    Lines and columns count from 1, columns in characters. ``line`` is in the file as read,
    ``line_after`` in the file as written. ``before`` and ``after`` are the source text of the
    site; ``after`` is empty unless the status is ``rewritten``.
    """

    path: str
    code: str
    kind: str
    status: Status
    line: int
    column: int
    end_line: int
    end_column: int
    line_after: int
    message: str
    remedy: str
    strategy: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class FileError:
    """Why a file could not be handled; ``line`` is 0 where no line is to blame."""

    path: str
    code: str
    line: int
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class FileResult:
    """What the core says of one file: ``after`` is None where no byte changes."""

    path: str
    before: bytes
    after: bytes | None = None
    findings: tuple[Finding, ...] = ()
    errors: tuple[FileError, ...] = ()
