"""The report for a program: one JSON object, described field by field in docs/json.md."""

from __future__ import annotations

import json
from dataclasses import fields
from enum import Enum
from typing import Any, TextIO

from bncodemod.model import FileError, FileResult, Finding, Status
from bncodemod.report.totals import Totals

# Raised when a field goes or changes its meaning; a new field alone does not raise it.
VERSION = 1


class JsonReport:
    """Collects findings and errors, not file contents, and writes the object at the end."""

    def __init__(self, stream: TextIO, *, statistics: bool = False) -> None:
        self._stream = stream
        self._statistics = statistics
        self._findings: list[dict[str, Any]] = []
        self._errors: list[dict[str, Any]] = []

    def add(self, result: FileResult) -> None:
        """Keep what is to be said of one file."""
        self._findings.extend(_record(finding) for finding in result.findings)
        self._errors.extend(_record(error) for error in result.errors)

    def finish(self, totals: Totals, verification: dict[str, Any] | None = None) -> None:
        """Write the object; ``verification`` is that of the rewritten code, if there is one."""
        report: dict[str, Any] = {"version": VERSION, "summary": _summary(totals)}
        if self._statistics:
            from bncodemod.report.statistics import grouped

            report["statistics"] = {
                "codes": grouped(totals.by_code),
                "kinds": grouped(totals.by_kind),
                "seconds": {stage: round(taken, 3) for stage, taken in totals.seconds.items()},
            }
        report["findings"] = self._findings
        report["errors"] = self._errors
        if verification is not None:
            report["verification"] = verification
        # ASCII only, so that neither the stream's encoding nor a file's odd name can break it.
        json.dump(report, self._stream, indent=2)
        self._stream.write("\n")
        self._stream.flush()


def _record(item: Finding | FileError) -> dict[str, Any]:
    values = ((field.name, getattr(item, field.name)) for field in fields(item))
    return {name: value.value if isinstance(value, Enum) else value for name, value in values}


def _summary(totals: Totals) -> dict[str, Any]:
    return {
        "applied": totals.applied,
        "files": totals.files,
        "files_changed": totals.changed,
        "files_unchanged": totals.unchanged,
        "files_failed": totals.failed,
        "findings": totals.findings,
        **{status.value: totals.count(status) for status in Status},
        "errors": totals.errors,
    }
