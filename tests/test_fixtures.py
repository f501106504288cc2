"""Every fixture under every strategy: snapshots, and the laws that hold for all of them.

``fixtures/<rule>/<case>.in.py`` is rewritten; ``fixtures/<rule>/<case>/<mode>/`` holds the
snapshots: ``findings.txt``, and ``rewritten.txt`` where a byte changes. A mode is a strategy with
its options. The laws hold for every case in every mode; snapshots of what is patched at run time
are kept for the cases that are about it, those of ``fixtures/runtime_patch``. After a change that
is meant: ``pytest tests/test_fixtures.py --snapshot-update --allow-snapshot-deletion``, then read
the difference. Names that end in ``_py312`` hold syntax that Python 3.12 brought.
"""

from __future__ import annotations

import ast
import itertools
import pickle
import re
from collections import Counter
from typing import Any

import pytest

from bncodemod.model import FileResult, Status
from bncodemod.settings import PATCHES as KINDS
from bncodemod.settings import STRATEGIES
from fixture_cases import (
    CASES,
    FIXTURES,
    LINE_ENDING,
    MODES,
    OF_SOURCE,
    RUNNABLE,
    decode,
    every_case_and_mode,
    lines_of,
    output,
    rewritten,
    rewritten_twice,
    source,
    timeless,
    with_status,
)


def has_snapshot(case: str, mode: str) -> bool:
    if case.startswith("eval_call/"):
        return mode == "eval-mode"
    return mode in OF_SOURCE or (mode != "eval-mode" and case.startswith("runtime_patch/"))


def as_text(result: FileResult) -> bytes:
    """The findings as a person reads them; bytes, so that a bare CR in a site survives."""
    counts = Counter(finding.status.value for finding in result.findings)
    summary = ", ".join(f"{n} {status}" for status, n in counts.items()) or "no findings"
    out = [f"{'unchanged' if result.after is None else 'changed'}: {summary}"]
    for error in result.errors:
        out += ["", f"line {error.line} {error.code} error"]
        out += [f"    {error.message}", f"    > {error.remedy}"]
    for f in result.findings:
        moved = f" (then line {f.line_after})" if f.line_after != f.line else ""
        place = f"{f.line}:{f.column}-{f.end_line}:{f.end_column}{moved}"
        out += ["", f"{place} {f.code} {f.kind} {f.status.value}"]
        out += [f"    - {line.rstrip()}" for line in LINE_ENDING.split(f.before)]
        out += [f"    + {line.rstrip()}" for line in LINE_ENDING.split(f.after) if f.after]
        out += [f"    {line}" for line in f.message.splitlines()]
        out += [f"    > {line}" for line in f.remedy.splitlines()]
    return ("\n".join(out) + "\n").encode()


@pytest.mark.parametrize(
    ("case", "mode"), [(c, m) for c in RUNNABLE for m in MODES if has_snapshot(c, m)]
)
def test_snapshot(case: str, mode: str, snapshot: Any) -> None:
    result = rewritten(case, mode)
    files = {"findings.txt": as_text(result)}
    if result.after is not None:
        files["rewritten.txt"] = result.after
    snapshot.snapshot_dir = FIXTURES / case
    snapshot.assert_match_dir(files, mode)


def test_no_stray_snapshot() -> None:
    kept = {FIXTURES / case / mode for case in CASES for mode in MODES if has_snapshot(case, mode)}
    stray = {path.parent for path in FIXTURES.rglob("findings.txt")} - kept
    assert not stray, "snapshots of no fixture"


@every_case_and_mode
def test_no_errors_and_still_python(case: str, mode: str) -> None:
    assert rewritten(case, mode).errors == ()
    ast.parse(output(case, mode))


@every_case_and_mode
def test_second_run_changes_nothing(case: str, mode: str) -> None:
    first, second = rewritten(case, mode), rewritten_twice(case, mode)
    assert second.after is None
    assert with_status(second, Status.REWRITTEN) == []
    for status in (Status.OPEN, Status.IGNORED):
        assert [(f.line, f.code, timeless(f.message)) for f in with_status(second, status)] == [
            (f.line_after, f.code, timeless(f.message))
            for f in sorted(with_status(first, status), key=lambda f: f.line_after)
        ]


@every_case_and_mode
def test_findings_are_sound(case: str, mode: str) -> None:
    """Positions, texts and statuses of the findings agree with the file and with each other."""
    result = rewritten(case, mode)
    text = decode(source(case))
    lines, lines_after = lines_of(text), lines_of(decode(output(case, mode)))
    starts = [0, *itertools.accumulate(map(len, lines))]

    assert result.before == source(case)
    assert result.after != result.before
    assert pickle.loads(pickle.dumps(result)) == result
    assert (result.after is not None) == bool(with_status(result, Status.REWRITTEN))
    assert sum(len(with_status(result, status)) for status in Status) == len(result.findings)
    assert list(result.findings) == sorted(result.findings, key=lambda f: (f.line, f.column))
    for f in result.findings:
        assert (f.path, f.strategy) == (result.path, MODES[mode].strategy)
        assert re.fullmatch(r"BN[0-4]\d\d", f.code)
        assert f.message
        assert (f.line, f.column) < (f.end_line, f.end_column)
        assert (
            f.before
            == text[starts[f.line - 1] + f.column - 1 : starts[f.end_line - 1] + f.end_column - 1]
        )
        if f.status is Status.REWRITTEN:
            assert f.after
            assert f.after != f.before
        else:
            assert f.after == ""
        if f.status is Status.OPEN:
            assert f.remedy
        assert 1 <= f.line_after <= len(lines_after)
        edited = {
            n for g in with_status(result, Status.REWRITTEN) for n in range(g.line, g.end_line + 1)
        }
        if f.line not in edited:
            assert lines_after[f.line_after - 1].rstrip() == lines[f.line - 1].rstrip()


def test_every_strategy_and_patch_is_a_mode() -> None:
    assert {settings.strategy for settings in MODES.values()} == set(STRATEGIES)
    assert {settings.patch for settings in MODES.values()} == set(KINDS)
