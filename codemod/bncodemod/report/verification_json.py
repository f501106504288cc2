"""The verifier's report for a program, described field by field in docs/json.md."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, TextIO

from bncodemod.report.json import VERSION
from bncodemod.report.verification_text import stages
from bncodemod.verify.model import CandidateResult, SiteResult, Verdict, Verification


def write_json(stream: TextIO, verification: Verification, *, traces: bool = False) -> None:
    """Write the object of a run that only verifies; ``traces`` adds raw tracebacks."""
    report = {"version": VERSION, "verification": record(verification, traces=traces)}
    json.dump(report, stream, indent=2)
    stream.write("\n")
    stream.flush()


# From which the answer for each site is made.
_INTERNAL = frozenset({"ran", "idle", "is_part", "unsure"})


def record(verification: Verification, *, traces: bool = False) -> dict[str, Any]:
    """The object ``verification`` of a report."""
    left_out = _INTERNAL if traces else _INTERNAL | {"trace"}
    counts = {
        verdict.value.replace(" ", "_"): sum(r.verdict is verdict for r in verification.sites)
        for verdict in Verdict
    }
    coverage = verification.coverage
    return {
        "summary": {
            "sites": len(verification.sites),
            **counts,
            "coverage": None if coverage is None else round(coverage, 2),
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
        "sites": [_flat(result, left_out) for result in verification.sites],
        "modules": [_plain(module, left_out) for module in verification.modules],
        "candidates": [_candidate(candidate, left_out) for candidate in verification.candidates],
    }


def _flat(result: SiteResult, left_out: frozenset[str]) -> dict[str, Any]:
    """A site's answer, with what says where it stands on the same level."""
    answer: dict[str, Any] = _plain(result, left_out)
    if answer["failure"] is not None:
        answer["failure"]["sites"] = _places(answer["failure"]["sites"])
    return {**answer.pop("site"), **answer}


def _candidate(candidate: CandidateResult, left_out: frozenset[str]) -> dict[str, Any]:
    answer: dict[str, Any] = _plain(candidate, left_out)
    for holder in (answer, *answer["checks"]):
        holder["sites"] = _places(holder["sites"])
    return answer


def _places(sites: list[dict[str, Any]]) -> list[str]:
    """Sites by the places that they have in the array ``sites``, for what refers to them."""
    return [f"{site['path']}:{site['line']}:{site['column']}" for site in sites]


def _plain(value: Any, left_out: frozenset[str]) -> Any:
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        names = (field.name for field in fields(value))
        return {n: _plain(getattr(value, n), left_out) for n in names if n not in left_out}
    if isinstance(value, tuple):
        return [_plain(item, left_out) for item in value]
    return round(value, 4) if isinstance(value, float) else value
