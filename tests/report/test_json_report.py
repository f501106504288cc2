"""The report for a program: its schema is a promise."""

from __future__ import annotations

import io
import json
from dataclasses import fields
from pathlib import Path

import pytest
from pytest_snapshot.plugin import Snapshot

from bncodemod.model import FileError, FileResult, Finding
from bncodemod.report.json import JsonReport
from report.samples import RESULTS, totals_of

DOCUMENT = Path(__file__).parents[2] / "docs" / "json.md"


def written(results: list[FileResult], *, statistics: bool = False) -> str:
    stream = io.StringIO()
    report = JsonReport(stream, statistics=statistics)
    for result in results:
        report.add(result)
    report.finish(totals_of(results))
    return stream.getvalue()


@pytest.mark.parametrize("statistics", [False, True], ids=["plain", "statistics"])
def test_report(snapshot: Snapshot, statistics: bool) -> None:
    snapshot.assert_match(written(RESULTS, statistics=statistics), "report.json")


def test_nothing_found_is_the_same_schema() -> None:
    full, empty = json.loads(written(RESULTS)), json.loads(written([]))
    assert list(full) == list(empty) == ["version", "summary", "findings", "errors"]
    assert list(full["summary"]) == list(empty["summary"])


def test_the_summary_adds_up() -> None:
    report = json.loads(written(RESULTS))
    summary = report["summary"]
    statuses = ("rewritten", "safe", "open", "ignored")
    assert summary["findings"] == sum(summary[s] for s in statuses) == len(report["findings"])
    files = ("files_changed", "files_unchanged", "files_failed")
    assert summary["files"] == sum(summary[name] for name in files)
    assert summary["errors"] == len(report["errors"])


def test_odd_names_stay_ascii() -> None:
    odd = FileResult(
        "\udcff\nü.py", b"", errors=(FileError("\udcff\nü.py", "BN902", 0, "gone", "look"),)
    )
    text = written([odd])
    assert text.isascii()
    assert json.loads(text)["errors"][0]["path"] == "\udcff\nü.py"


def test_every_field_is_documented() -> None:
    text = DOCUMENT.read_text()
    report = json.loads(written(RESULTS, statistics=True))
    findings, rest = text.split("## An element of `findings`")[1].split("## An element of `errors`")
    for field in fields(Finding):
        assert f"`{field.name}`" in findings
    for field in fields(FileError):
        assert f"| `{field.name}` |" in rest
    for name in (*report, *report["summary"]):
        assert f"`{name}`" in text


def test_the_documented_example_has_the_schema() -> None:
    example = json.loads(DOCUMENT.read_text().partition("```json\n")[2].partition("```")[0])
    report = json.loads(written(RESULTS))
    assert list(example) == list(report)
    assert list(example["summary"]) == list(report["summary"])
    assert list(example["findings"][0]) == list(report["findings"][0])
    assert list(example["errors"][0]) == list(report["errors"][0])
