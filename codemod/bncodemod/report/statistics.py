"""Counts per rule and per kind of site, by what became of them."""

from __future__ import annotations

from collections import Counter

from bncodemod.model import Status
from bncodemod.report.totals import Totals

_HEADINGS = (*(status.value for status in Status), "total")


def grouped(counts: Counter[tuple[str, Status]]) -> dict[str, dict[str, int]]:
    """``{"BN101": {"rewritten": 3, "safe": 0, "open": 1, "ignored": 0}}``, sorted by name."""
    return {
        name: {status.value: counts[name, status] for status in Status}
        for name in sorted({name for name, _ in counts})
    }


def tables(totals: Totals) -> list[str]:
    """The lines of the tables per rule, kind and stage; none where there is nothing to count."""
    lines = []
    if totals.findings:
        lines += ["", *_table("rule", totals.by_code), "", *_table("kind", totals.by_kind)]
    if totals.seconds:
        lines += ["", "stage    seconds"]
        lines += [f"{stage:8} {taken:7.2f}" for stage, taken in totals.seconds.items()]
    return [*lines, ""] if lines else []


def _table(heading: str, counts: Counter[tuple[str, Status]]) -> list[str]:
    rows = [(heading, _HEADINGS)]
    for name, by_status in grouped(counts).items():
        numbers = [*by_status.values(), sum(by_status.values())]
        rows.append((name, tuple(map(str, numbers))))
    width = max(len(name) for name, _ in rows)
    return [
        name.ljust(width)
        + "".join(cell.rjust(len(title) + 2) for cell, title in zip(cells, _HEADINGS, strict=True))
        for name, cells in rows
    ]
