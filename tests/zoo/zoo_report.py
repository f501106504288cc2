"""What the rewrite of one package left behind, in figures and in words."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import pathlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

from zoo_leftovers import Leftover, OpenFindings, by_cover, count_left, leftovers
from zoo_packages import PACKAGES


@dataclass
class Report:
    """What a package's rewrite left behind.

    Norms that a package outside of the copies constructs are counted apart, as ``outside``.
    """

    package: str
    version: str
    strategy: str
    exit_code: int
    summary: dict[str, Any]
    findings: dict[str, int]
    errors: list[dict[str, Any]]
    registered: int
    models: int
    built_before: int
    built_after: int
    lost: dict[str, str]
    failed_before: dict[str, str]
    norms_before: int
    norms_left: dict[str, int]
    outside_before: int
    outside_left: dict[str, int]
    group_norms: int
    other_running_stats: dict[str, int]
    models_with_norms_left: list[str]
    opacus: dict[str, int] | None
    leftovers: list[Leftover]

    @property
    def left(self) -> int:
        return sum(self.norms_left.values())


@dataclass(frozen=True)
class Rewritten:
    """A package's copy before and after the rewrite, and what the command line said."""

    package: str
    strategy: str
    before: pathlib.Path
    after: pathlib.Path
    exit_code: int
    output: dict[str, Any]


def report(rewritten: Rewritten, before: dict[str, Any], after: dict[str, Any]) -> Report:
    errors_before = {n: m["error"] for n, m in before["models"].items() if "error" in m}
    errors_after = {n: m["error"] for n, m in after["models"].items() if "error" in m}
    built = {name: model for name, model in after["models"].items() if "error" not in model}
    findings = rewritten.output["findings"]
    rows = leftovers(after, OpenFindings(findings, rewritten.after), rewritten.after)
    complaints = {name: model["opacus"] for name, model in built.items()}
    return Report(
        package=rewritten.package,
        version=importlib.metadata.version(PACKAGES[rewritten.package].distribution),
        strategy=rewritten.strategy,
        exit_code=rewritten.exit_code,
        summary=rewritten.output["summary"],
        findings=dict(sorted(Counter(f"{f['code']} {f['status']}" for f in findings).items())),
        errors=rewritten.output["errors"],
        registered=len(after["registered"]),
        models=len(before["models"]),
        built_before=len(before["models"]) - len(errors_before),
        built_after=len(after["models"]) - len(errors_after),
        lost={n: e for n, e in errors_after.items() if n not in errors_before},
        failed_before=errors_before,
        norms_before=count_left(before, outside=False),
        norms_left=by_cover([row for row in rows if not row.outside]),
        outside_before=count_left(before, outside=True),
        outside_left=by_cover([row for row in rows if row.outside]),
        group_norms=sum(model["group_norms"] for model in built.values()),
        other_running_stats=dict(
            sum((Counter(model["other_running_stats"]) for model in built.values()), Counter())
        ),
        models_with_norms_left=sorted(name for name, model in built.items() if model["left"]),
        opacus=None if None in complaints.values() else {n: c for n, c in complaints.items() if c},
        leftovers=rows,
    )


def text(found: Report, limit: int = 40) -> str:
    lines = [
        f"{found.package} {found.version}, strategy {found.strategy}:"
        f" exit code {found.exit_code}, {len(found.errors)} file errors",
        f"  findings: {', '.join(f'{n} {c}' for n, c in found.findings.items()) or 'none'}",
        f"  models: {found.registered} registered, {found.models} tried,"
        f" {found.built_before} built before, {found.built_after} built after",
        f"  norms with running stats: {found.norms_before} before, {found.left} after"
        f" ({where(found.norms_left)})",
    ]
    if found.outside_before or any(found.outside_left.values()):
        lines.append(
            f"  and from packages that were not rewritten: {found.outside_before} before,"
            f" {sum(found.outside_left.values())} after ({where(found.outside_left)})"
        )
    lines.append(
        f"  models without any left: {found.built_after - len(found.models_with_norms_left)};"
        f" GroupNorms: {found.group_norms}; Opacus' validator finds batch norm in"
        f" {'?' if found.opacus is None else len(found.opacus)} models"
    )
    lines += [f"  file error: {e['path']}: {e['message']}" for e in found.errors[:limit]]
    if found.other_running_stats:
        lines.append(f"  other modules with a running_var: {found.other_running_stats}")
    for title, failures in (("lost", found.lost), ("failed before", found.failed_before)):
        lines += [f"  {title}: {name}: {error}" for name, error in list(failures.items())[:limit]]
    if found.leftovers:
        lines.append("  covered   norms  models  constructed at")
    for row in found.leftovers[:limit]:
        codes = f"  [{' '.join(row.findings)}]" if row.findings else ""
        at = f"{row.path}:{row.line}"
        lines.append(f"  {row.covered:8}  {row.norms:5}  {row.models:6}  {at}  {row.source}{codes}")
        if row.outside:
            lines.append(f"{'':26}by {row.outside}")
        if row.covered == "none":
            called = f"from {', '.join(row.callers)}, " if row.callers else ""
            lines.append(f"{'':26}{called}in {', '.join(row.examples)}")
    if len(found.leftovers) > limit:
        lines.append(f"  … and {len(found.leftovers) - limit} more lines")
    return "\n".join(lines)


def where(left: dict[str, int]) -> str:
    return (
        f"{left['line']} with an open finding at the line that constructs them,"
        f" {left['chain']} only at a caller's, {left['header']} only at the class or def,"
        f" {left['function']} only in the function, {left['none']} without one"
    )
