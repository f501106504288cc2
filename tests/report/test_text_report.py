"""The report for a person."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from pytest_snapshot.plugin import Snapshot

from bncodemod.model import FileResult, Status
from bncodemod.report.text import TextReport
from report.samples import RESULTS, totals_of


def written(results: list[FileResult], *, applied: bool = True, **options: bool) -> str:
    stream = io.StringIO()
    report = TextReport(stream, applied=applied, **options)
    for result in results:
        report.add(result)
    report.finish(totals_of(results, applied=applied))
    return stream.getvalue()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="plain"),
        pytest.param({"applied": False}, id="dry"),
        pytest.param({"quiet": True}, id="quiet"),
        pytest.param({"verbose": True}, id="verbose"),
        pytest.param({"statistics": True}, id="statistics"),
        pytest.param({"name_changed": False}, id="unnamed"),
    ],
)
def test_report(snapshot: Snapshot, options: dict[str, bool]) -> None:
    snapshot.assert_match(written(RESULTS, **options), "report.txt")


def test_nothing_found() -> None:
    assert written([]) == (
        "0 findings = 0 rewritten + 0 safe + 0 open + 0 ignored\n"
        "4 files = 0 changed + 4 unchanged + 0 could not be handled\n"
    )


def test_a_rewrite_that_leaves_something_to_be_done_is_shown() -> None:
    result = RESULTS[0]
    finding = next(f for f in result.findings if f.status is Status.REWRITTEN)
    left = replace(result, findings=(replace(finding, remedy="migrate the checkpoints"),))
    assert "migrate the checkpoints" in written([left])
    assert "migrate the checkpoints" not in written([left], quiet=True)
    assert finding.message not in written([replace(result, findings=(finding,))])


def test_after_a_rewrite_the_line_is_the_one_that_the_reader_finds() -> None:
    assert "models/b.py:8:5 BN203 [open]" in written(RESULTS, applied=True)
    assert "models/b.py:7:5 BN203 [open]" in written(RESULTS, applied=False)
