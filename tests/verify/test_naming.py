"""How files are named in a report: as the user named them, in words too."""

from __future__ import annotations

from pathlib import Path

import pytest

from bncodemod.verify.model import CandidateResult, Check, CheckResult, Outcome, Verification
from bncodemod.verify.naming import named


def test_files_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path, other = str(tmp_path / "net.py"), str(tmp_path.parent / "lib.py")
    words = f"GroupNorm built at {path}:3, BatchNorm2d built at {other}:5"
    check = CheckResult(Check.CONSTANT, Outcome.NOTED, words, path=path)
    whole = Verification(
        (), (), (CandidateResult(path, "Net", 1, checks=(check,), notes=(words,), error=path),), ""
    )
    (candidate,) = named(whole, {path: "./net.py"}).candidates
    said = f"GroupNorm built at ./net.py:3, BatchNorm2d built at {other}:5"
    assert candidate.checks[0].message == said
    assert candidate.notes == (said,)
    assert candidate.error == "./net.py"
