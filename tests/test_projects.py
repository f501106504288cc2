"""Projects of several files under every strategy: snapshots, laws, and runs before and after.

``projects/<case>/in`` is swept as one project; ``projects/<case>/<strategy>/`` holds the snapshots:
``findings.txt`` and every file of which a byte changes, for the strategies that rewrite norms of
the source. ``main.py`` has a function ``modules()``
that builds what the project is about. After a change that is meant: ``pytest tests/test_projects.py
--snapshot-update --allow-snapshot-deletion``, then read the difference.
"""

from __future__ import annotations

import ast
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from bncodemod.model import FileResult, Status
from bncodemod.settings import Configuration, Settings
from bncodemod.sweep.run import sweep
from project_probe import probe

PROJECTS = Path(__file__).parent / "projects"
CASES = sorted(folder.name for folder in PROJECTS.iterdir() if (folder / "in").is_dir())

every_case = pytest.mark.parametrize("case", CASES)
# Those that rewrite what makes norms, wherever in the project that is.
OF_NORMS = ("no-running-stats", "group-norm")
every_strategy = pytest.mark.parametrize("strategy", OF_NORMS)


@pytest.fixture
def project(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project, the current folder."""
    shutil.copytree(PROJECTS / case / "in", tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def swept(*paths: str, strategy: str, write: bool = False) -> dict[str, FileResult]:
    configuration = Configuration(os.getcwd(), Settings(strategy=strategy))
    results = sweep(paths, configuration, write=write, jobs=1)
    return {result.path: result for result in results}


def findings(results: dict[str, FileResult]) -> list[str]:
    return [
        f"{f.path}:{f.line}:{f.column} {f.code} [{f.status.value}] {f.message}"
        for result in results.values()
        for f in result.findings
    ]


@every_case
@pytest.mark.parametrize("strategy", ["no-running-stats", "group-norm"])
def test_snapshot(case: str, strategy: str, project: Path, snapshot: Any) -> None:
    results = swept(".", strategy=strategy)
    assert [error for result in results.values() for error in result.errors] == []
    snapshot.snapshot_dir = PROJECTS / case
    said = {"findings.txt": "\n".join([*findings(results), ""])}
    for path, result in results.items():
        if result.after is not None:
            said[f"{path.replace('/', '.')}.txt"] = result.after.decode()
    snapshot.assert_match_dir(said, strategy)


@every_case
@every_strategy
def test_a_second_run_changes_nothing_and_says_the_same(
    case: str, strategy: str, project: Path
) -> None:
    def left(results: dict[str, FileResult]) -> list[tuple[str, str, str]]:
        return sorted(
            (f.path, f.code, f.message)
            for result in results.values()
            for f in result.findings
            if f.status is Status.OPEN
        )

    first = swept(".", strategy=strategy, write=True)
    again = swept(".", strategy=strategy)
    assert [path for path, result in again.items() if result.after is not None] == []
    assert left(again) == left(first)


@every_case
@every_strategy
def test_a_hook_decides_as_a_sweep_does(case: str, strategy: str, project: Path) -> None:
    (project / ".git").mkdir()  # what tells a project's top
    together = swept(".", strategy=strategy)
    for path in sorted(str(p.relative_to(project)) for p in project.rglob("*.py")):
        alone = swept(path, strategy=strategy).get(path)
        assert alone == together.get(path), path


@every_case
@every_strategy
def test_what_was_built_is_built_and_no_norm_is_missed(
    case: str, strategy: str, project: Path
) -> None:
    pytest.importorskip("torch", reason="needs the extra 'test'")
    (main,) = project.rglob("main.py")
    before = probe(main.parent)
    results = swept(".", strategy=strategy, write=True)
    after = probe(main.parent)
    assert after["built"] == before["built"]
    open_lines = {
        (f.path, f.line_after)
        for result in results.values()
        for f in result.findings
        if f.status is Status.OPEN
    }
    for lines in after["tracking"]:
        assert any(leads_to(at, lines) for at in open_lines), (lines, open_lines)


def leads_to(at: tuple[str, int], lines: list[tuple[str, int]]) -> bool:
    """Whether a norm came by a line, or by a name that the line binds and one of ``lines`` uses."""
    if at in lines:
        return True
    used = {name for path, line in lines for name in names_at(path, line)[0]}
    return not used.isdisjoint(names_at(*at)[1])


def names_at(path: str, line: int) -> tuple[set[str], set[str]]:
    """The names that the statement at a line uses, and those that it binds."""
    tree = ast.parse(Path(path).read_bytes())
    around = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or line)
    ]
    used: set[str] = set()
    bound: set[str] = set()
    for node in ast.walk(max(around, key=lambda statement: statement.lineno)):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.Attribute):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.attr)
        elif isinstance(node, ast.alias):
            bound.add(node.asname or node.name)
        elif isinstance(node, ast.keyword):
            bound.add(node.arg or "**")
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            used.add(node.value)
    return used, bound
