"""The report for a person: one line a finding, the remedy below it, a summary that adds up."""

from __future__ import annotations

from typing import TextIO

from bncodemod.model import FileError, FileResult, Finding, Status
from bncodemod.report.console import Console, Span
from bncodemod.report.totals import Totals

_STYLES = {
    Status.REWRITTEN: "green",
    Status.SAFE: "cyan",
    Status.OPEN: "yellow",
    Status.IGNORED: "dim",
}


class TextReport:
    """Writes each file's part as it comes, and the summary at the end.

    Open findings and errors are always shown; so are, unless ``quiet`` is set, what the strategy
    ``auto`` chose and rewrites that leave something to be done. ``verbose`` shows the other
    findings too; ``quiet`` leaves out the summary and the lines on changed files; ``name_changed``
    is False where something else shows the changes, as a diff does.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        applied: bool,
        quiet: bool = False,
        verbose: bool = False,
        name_changed: bool = True,
        statistics: bool = False,
    ) -> None:
        self._console = Console(stream)
        self._applied = applied
        self._quiet = quiet
        self._verbose = verbose
        self._name_changed = name_changed and not quiet
        self._statistics = statistics

    def add(self, result: FileResult) -> None:
        """Write what is to be said of one file."""
        for error in result.errors:
            self._error(error)
        if result.after is not None and not result.errors and self._name_changed:
            self._changed(result)
        for finding in result.findings:
            # Which way auto has taken, and why, is part of its result; a remedy is for a person.
            said = (finding.strategy == "auto" or finding.remedy) and not self._quiet
            if self._verbose or finding.status is Status.OPEN or said:
                self._finding(finding)
        self._console.flush()

    def finish(self, totals: Totals) -> None:
        """Write the summary."""
        if self._statistics:
            from bncodemod.report.statistics import tables

            for line in tables(totals):
                self._console.line((line, ""))
        if not self._quiet:
            for spans in summary(totals):
                self._console.line(*spans)
        self._console.flush()

    def _changed(self, result: FileResult) -> None:
        sites = sum(finding.status is Status.REWRITTEN for finding in result.findings)
        verb = "rewrote" if self._applied else "would rewrite"
        self._console.line(
            (f"{verb} ", "green"), (result.path, "bold"), (f" ({plural(sites, 'site')})", "")
        )

    def _finding(self, finding: Finding) -> None:
        # A rewrite in place moves lines: the place to name is the one the reader finds now.
        line = finding.line_after if self._applied else finding.line
        self._console.line(
            (f"{finding.path}:{line or finding.line}:{finding.column}", "bold"),
            (f" {finding.code} [{finding.status.value}]", _STYLES[finding.status]),
            (f" {finding.message}", ""),
        )
        self._remedy(finding.remedy)

    def _error(self, error: FileError) -> None:
        place = f"{error.path}:{error.line}" if error.line else error.path
        self._console.line(
            (place, "bold"), (f" {error.code} [error]", "red"), (f" {error.message}", "")
        )
        self._remedy(error.remedy)

    def _remedy(self, remedy: str) -> None:
        if remedy:
            self._console.line(("    remedy: ", "dim"), (remedy, ""))


def summary(totals: Totals) -> list[list[Span]]:
    """The closing lines; each is a sum, so that nothing can go missing in between."""
    counts = {status: totals.count(status) for status in Status}
    done = "rewritten" if totals.applied else "to rewrite"
    parts: list[Span] = []
    for status, word in zip(Status, (done, "safe", "open", "ignored"), strict=True):
        parts.append((f"{counts[status]} {word}", _STYLES[status] if counts[status] else ""))
    failed = f"{totals.failed} could not be handled"
    return [
        [(f"{plural(totals.findings, 'finding')} = ", ""), *_joined(parts, " + ")],
        [
            (f"{plural(totals.files, 'file')} = ", ""),
            (f"{totals.changed} {'changed' if totals.applied else 'to change'}", ""),
            (f" + {totals.unchanged} unchanged + ", ""),
            (failed, "red" if totals.failed else ""),
        ],
    ]


def _joined(parts: list[Span], separator: str) -> list[Span]:
    joined = parts[:1]
    for part in parts[1:]:
        joined += [(separator, ""), part]
    return joined


def plural(number: int, noun: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
