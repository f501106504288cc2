"""Which expressions are sites: every written line of every fixture is one, and no other is marked.

Snapshots under ``snapshots/`` show what is found in ``sites/*.in.py`` as it stands and after both
rewrites: kind, span, text and owner.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pytest_snapshot.plugin import Snapshot

from bncodemod.core import rewrite
from bncodemod.model import Finding, Status
from bncodemod.settings import Settings
from bncodemod.verify.model import Site, SiteKind
from bncodemod.verify.sites import find_sites

HERE = Path(__file__).parent
FIXTURES = HERE.parent / "fixtures"
CASES = sorted(FIXTURES.rglob("*.in.py"))
if sys.version_info < (3, 12):
    CASES = [case for case in CASES if "_py312" not in case.name]
# Those that rewrite what makes norms; the others write statements around a model.
OF_NORMS = {name: Settings(name) for name in ("no-running-stats", "group-norm")}
OF_MODELS = {
    "runtime-patch": Settings("runtime-patch"),
    "keep-statistics": Settings("runtime-patch", patch="keep-statistics"),
    "patch-group-norm": Settings("runtime-patch", patch="group-norm"),
    "third-party-patch": Settings(third_party="patch"),
    "eval-mode": Settings("eval-mode"),
    "auto": Settings("auto"),
}
STRATEGIES = OF_NORMS | OF_MODELS
OWN = sorted((HERE / "sites").glob("*.in.py"))

# What these write is no expression that makes a norm: tests, imports, F.group_norm in a class.
NO_SITE = ("BN3", "BN4", "BN104", "BN001")


def sites_of(data: bytes) -> tuple[Site, ...]:
    findings = rewrite(data, "a.py", Settings()).findings
    return find_sites(data, "a.py", findings)


def rewritten_sites(before: bytes, strategy: str) -> tuple[Site, ...]:
    done = rewrite(before, "a.py", STRATEGIES[strategy])
    after = done.after or before
    findings = rewrite(after, "a.py", Settings()).findings
    return find_sites(after, "a.py", findings, before=before, written=done.findings)


def shown(sites: tuple[Site, ...]) -> str:
    return "".join(
        f"{s.line}:{s.column}-{s.end_line}:{s.end_column} {s.kind.value}"
        f"{' rewritten' if s.rewritten else ''} {s.code or '-'} [{s.owner}] {s.text!r}\n"
        for s in sites
    )


@pytest.mark.parametrize("case", OWN, ids=lambda case: case.name.removesuffix(".in.py"))
@pytest.mark.parametrize("strategy", [*OF_NORMS, "keep-statistics", "eval-mode", "as it stands"])
def test_sites_of_a_file(case: Path, strategy: str, snapshot: Snapshot) -> None:
    if strategy in (OF_NORMS if case.name.startswith("models") else OF_MODELS):
        pytest.skip("of the other files")
    data = case.read_bytes()
    found = sites_of(data) if strategy == "as it stands" else rewritten_sites(data, strategy)
    snapshot.snapshot_dir = HERE / "snapshots" / "sites" / case.name.removesuffix(".in.py")
    snapshot.assert_match(shown(found), f"{strategy.replace(' ', '_')}.txt")


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.parent.name}/{c.name[:-6]}")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_written_line_is_a_site(case: Path, strategy: str) -> None:
    """Beside the rewrite, and in a run of its own, which finds what was written by itself."""
    before = case.read_bytes()
    result = rewrite(before, "a.py", STRATEGIES[strategy])
    sites = [site for site in rewritten_sites(before, strategy) if site.rewritten]
    lines = {line for site in sites for line in range(site.line, site.end_line + 1)}
    written = [
        finding
        for finding in result.findings
        if finding.status is Status.REWRITTEN and not finding.code.startswith(NO_SITE)
    ]
    missed = [f for f in written if lines.isdisjoint(range(f.line_after, last_line(f) + 1))]
    missed = [f for f in missed if not is_below(f, sites)]
    assert [f.after for f in missed if not belongs_to_a_class(f)] == []
    alone = {(site.line, site.column) for site in sites_of(result.after or before)}
    assert [site.text for site in sites if (site.line, site.column) not in alone] == []


def is_below(finding: Finding, sites: list[Site]) -> bool:
    """Whether a statement of its own, somewhere below the line, patches what is built there."""
    return any(
        site.kind is SiteKind.PATCH
        and site.text == finding.after
        and site.line > finding.line_after
        for site in sites
    )


def last_line(finding: Finding) -> int:
    return finding.line_after + finding.after.count("\n")


def belongs_to_a_class(finding: Finding) -> bool:
    """Whether it changes with a subclass, whose base or call of the base's ``__init__`` is a site.

    A default that feeds the call, a functional norm, a call of the base's ``forward`` by its name.
    """
    return finding.code == "BN103" and (
        finding.after == "False" or "group_norm(" in finding.after or "GroupNormAs" in finding.after
    )


def test_a_file_that_was_not_rewritten_has_its_sites_too() -> None:
    found = sites_of(b"from torch import nn\nnorm = nn.BatchNorm2d(8)\n")
    assert [(s.text, s.owner, s.rewritten) for s in found] == [("nn.BatchNorm2d(8)", "", False)]
