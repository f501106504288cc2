"""The verifier's report for a program, described field by field in docs/json.md."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, TextIO

from bncodemod.report.json import VERSION
from bncodemod.report.verification_text import stages
from bncodemod.verify.model import Verdict, Verification


def write_json(stream: TextIO, verification: Verification) -> None:
    """Write the object of a run that only verifies."""
    report = {"version": VERSION, "verification": record(verification)}
    json.dump(report, stream, indent=2)
    stream.write("\n")
    stream.flush()


def record(verification: Verification) -> dict[str, Any]:
    """The object ``verification`` of a report."""
    counts = {
        verdict.value.replace(" ", "_"): sum(r.verdict is verdict for r in verification.sites)
        for verdict in Verdict
    }
    return {
        "summary": {
            "sites": len(verification.sites),
            **counts,
            "coverage": round(verification.coverage, 2),
            "modules": len(verification.modules),
            "modules_failed": sum(bool(module.error) for module in verification.modules),
        },
        "device": verification.device,
        "versions": verification.versions,
        "tolerance": verification.tolerance,
        "seconds": {
            "total": round(sum(verification.seconds.values()), 3),
            **{stage: round(taken, 3) for stage, taken in stages(verification).items()},
        },
        "sites": [_flat(result) for result in verification.sites],
        "modules": [_plain(module) for module in verification.modules],
        "candidates": [_candidate(candidate) for candidate in verification.candidates],
    }


def _flat(result: Any) -> dict[str, Any]:
    """A site's answer, with what says where it stands on the same level."""
    answer: dict[str, Any] = _plain(result)
    return {**answer.pop("site"), **answer}


def _candidate(candidate: Any) -> dict[str, Any]:
    """A candidate; its sites are named by their places, which are those of the array ``sites``."""
    answer: dict[str, Any] = _plain(candidate)
    for holder in (answer, *answer["checks"]):
        holder["sites"] = [f"{s['path']}:{s['line']}:{s['column']}" for s in holder["sites"]]
    return answer


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value
