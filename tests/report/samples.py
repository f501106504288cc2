"""Results as a sweep gives them: one of each sort."""

from __future__ import annotations

from collections.abc import Iterable

from bncodemod.model import FileError, FileResult, Finding, Status
from bncodemod.report.totals import Totals


def finding(path: str, code: str, kind: str, status: Status, line: int, after: str = "") -> Finding:
    return Finding(
        path,
        code,
        kind,
        status,
        line,
        5,
        line,
        21,
        line + 1 if path == "models/b.py" else line,
        f"BatchNorm2d, as {kind}",
        "say which" if status is Status.OPEN else "",
        "no-running-stats",
        "nn.BatchNorm2d(8)",
        after,
    )


RESULTS = [
    FileResult(
        "models/a.py",
        b"nn.BatchNorm2d(8)\n",
        b"nn.BatchNorm2d(8, track_running_stats=False)\n",
        (
            finding("models/a.py", "BN101", "call", Status.REWRITTEN, 1, "nn.X"),
            finding("models/a.py", "BN101", "call", Status.SAFE, 3),
        ),
    ),
    FileResult(
        "models/b.py",
        b"x",
        b"y",
        (
            finding("models/b.py", "BN101", "call", Status.REWRITTEN, 2, "nn.X"),
            finding("models/b.py", "BN102", "default", Status.REWRITTEN, 4, "nn.Y"),
            finding("models/b.py", "BN203", "getattr", Status.OPEN, 7),
            finding("models/b.py", "BN101", "call", Status.IGNORED, 9),
        ),
    ),
    FileResult(
        "models/old.py",
        b"print 1\n",
        errors=(FileError("models/old.py", "BN901", 1, "invalid syntax", "correct the file"),),
    ),
    FileResult(
        "none.py", b"", errors=(FileError("none.py", "BN902", 0, "No such file", "correct it"),)
    ),
]


def totals_of(results: Iterable[FileResult], *, applied: bool = True, files: int = 4) -> Totals:
    totals = Totals(applied, files)
    for result in results:
        totals.add(result)
    return totals
