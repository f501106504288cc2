"""The verifier's reports, for a person and for a program."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from pytest_snapshot.plugin import Snapshot

from bncodemod.report.verification_json import record, write_json
from bncodemod.report.verification_text import shown_percent, write_text
from bncodemod.verify.model import Verification
from report.verification_samples import VERIFICATION

DOC = Path(__file__).parents[2] / "docs" / "json.md"


def text(verification: Verification = VERIFICATION, **options: bool) -> str:
    stream = io.StringIO()
    write_text(stream, verification, **options)
    return stream.getvalue()


def report(**options: bool) -> dict[str, object]:
    stream = io.StringIO()
    write_json(stream, VERIFICATION, **options)
    assert stream.getvalue().isascii()
    loaded: dict[str, object] = json.loads(stream.getvalue())
    return loaded


@pytest.mark.parametrize("option", ["plain", "quiet", "verbose", "traces"])
def test_text(snapshot: Snapshot, option: str) -> None:
    options = {} if option == "plain" else {option: True}
    snapshot.assert_match(text(**options), "report.txt")


def test_nothing_was_asked() -> None:
    assert text(Verification((), (), (), "")) == (
        "0 sites = 0 verified + 0 failed + 0 not reached\n"
    )
    assert record(Verification((), (), (), ""))["summary"]["coverage"] is None


def test_json(snapshot: Snapshot) -> None:
    snapshot.assert_match(json.dumps(report(), indent=2) + "\n", "report.json")


def test_traces_are_for_who_asks() -> None:
    assert "Traceback" not in json.dumps(report())
    assert "Traceback" in json.dumps(report(traces=True))


def test_every_field_is_described() -> None:
    described = set(re.findall(r"`(\w+)`", DOC.read_text(encoding="utf-8")))
    assert keys(report(traces=True)) - described == set()


def keys(value: object) -> set[str]:
    if isinstance(value, dict):
        data = {"versions", "tolerance"}  # named by what is installed
        inner = (v for k, v in value.items() if k not in data)
        return set(value) | set().union(*map(keys, inner))
    return set().union(*map(keys, value)) if isinstance(value, list) else set()


@pytest.mark.parametrize(
    ("coverage", "shown"), [(100.0, "100"), (99.99, "99.9"), (33.333, "33.3"), (0.0, "0.0")]
)
def test_percent(coverage: float, shown: str) -> None:
    assert shown_percent(coverage) == shown
