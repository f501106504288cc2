"""Projects of several files under both strategies: snapshots, laws, and runs before and after.

``projects/<case>/in`` is swept as one project; ``projects/<case>/<strategy>/`` holds the snapshots:
``findings.txt`` and every file of which a byte changes. ``main.py`` has a function ``modules()``
that builds what the project is about. After a change that is meant: ``pytest tests/test_projects.py
--snapshot-update --allow-snapshot-deletion``, then read the difference.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bncodemod.model import FileResult, Status
from bncodemod.settings import STRATEGIES, Configuration, Settings
from bncodemod.sweep.run import sweep

PROJECTS = Path(__file__).parent / "projects"
CASES = sorted(folder.name for folder in PROJECTS.iterdir() if (folder / "in").is_dir())

every_case = pytest.mark.parametrize("case", CASES)
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES)

# Builds everything and counts the norms that still keep running statistics.
PROBE = """
import json, sys
sys.path.insert(0, sys.argv[1])
import main
built = main.modules()
tracking = [
    type(m).__name__
    for top in built if hasattr(top, "modules")
    for m in top.modules()
    if getattr(m, "running_mean", None) is not None
]
print(json.dumps({"built": len(built), "tracking": tracking}))
"""


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


def statuses(results: dict[str, FileResult]) -> set[Status]:
    return {finding.status for result in results.values() for finding in result.findings}


@every_case
@every_strategy
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
    assert not after["tracking"] or Status.OPEN in statuses(results)


def probe(folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(folder)], capture_output=True, text=True, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
