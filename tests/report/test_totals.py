"""Counts and exit codes."""

from __future__ import annotations

import pytest

from bncodemod.model import Status
from report.samples import RESULTS, totals_of

CHANGED, OPEN, FAILED = RESULTS[0], RESULTS[1], RESULTS[2]


def test_counts() -> None:
    totals = totals_of(RESULTS, files=10)
    assert (totals.changed, totals.unchanged, totals.failed, totals.errors) == (2, 6, 2, 2)
    assert totals.findings == 6
    assert {status.value: totals.count(status) for status in Status} == {
        "rewritten": 3,
        "safe": 1,
        "open": 1,
        "ignored": 1,
    }


@pytest.mark.parametrize(
    ("results", "applied", "code", "code_with_exit_zero"),
    [
        pytest.param([], True, 0, 0, id="nothing"),
        pytest.param([CHANGED], True, 0, 0, id="all done"),
        pytest.param([CHANGED], False, 1, 0, id="would change"),
        pytest.param([OPEN], True, 1, 0, id="stays open"),
        pytest.param([CHANGED, FAILED], True, 2, 2, id="a file failed"),
        pytest.param([OPEN, FAILED], False, 2, 2, id="everything"),
    ],
)
def test_exit_code(results: list, applied: bool, code: int, code_with_exit_zero: int) -> None:
    totals = totals_of(results, applied=applied)
    assert totals.exit_code(exit_zero=False) == code
    assert totals.exit_code(exit_zero=True) == code_with_exit_zero
