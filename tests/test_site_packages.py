"""The real command line on everything that is installed: other people's code, most of it without
batch norm. Nothing crashes, what has no site stays as it is, and a second run changes nothing.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import warnings
from typing import Any

import pytest

pytestmark = pytest.mark.slow

STRATEGIES = ("no-running-stats", "group-norm")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A copy of every Python file below site-packages; of nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    source = pathlib.Path(sysconfig.get_paths()["purelib"])
    for directory, folders, names in os.walk(source):
        folders[:] = [name for name in folders if name != "__pycache__"]
        target = folder / pathlib.Path(directory).relative_to(source)
        target.mkdir(exist_ok=True)
        for name in names:
            if name.endswith(".py"):
                shutil.copyfile(pathlib.Path(directory, name), target / name)
    return folder


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_sweep_of_everything_installed(
    installed: pathlib.Path, tmp_path: pathlib.Path, strategy: str
) -> None:
    # Run from the folder above: Python would import bncodemod's own dependencies from the copy.
    folder = tmp_path
    shutil.copytree(installed, folder / "packages")
    before = digests(folder)
    assert len(before) > 1000
    first, code = sweep(folder, strategy)
    after = digests(folder)

    assert [e for e in first["errors"] if parses(folder / e["path"])] == []
    assert code == (2 if first["errors"] else 0)
    assert after.keys() == before.keys()
    touched = {f["path"] for f in first["findings"] if f["status"] == "rewritten"}
    assert {path for path in before if before[path] != after[path]} == touched
    broken = {e["path"] for e in first["errors"]}
    assert [path for path in touched - broken if not parses(folder / path)] == []

    second, again = sweep(folder, strategy)
    assert again == code
    assert digests(folder) == after
    assert [f for f in second["findings"] if f["status"] == "rewritten"] == []
    assert opened(second, "line") == opened(first, "line_after")


def sweep(folder: pathlib.Path, strategy: str) -> tuple[dict[str, Any], int]:
    command = [sys.executable, "-m", "bncodemod", "--strategy", strategy, "--exit-zero"]
    done = subprocess.run(
        [*command, "--format", "json", "packages"], cwd=folder, capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    assert done.returncode in (0, 2), done.stderr[-3000:]
    report: dict[str, Any] = json.loads(done.stdout)
    return report, done.returncode


def digests(folder: pathlib.Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.py")
    }


def parses(path: pathlib.Path) -> bool:
    """Whether Python itself can parse a file: a template of C++ named .py is no one's fault."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return False
    return True


def opened(report: dict[str, Any], line: str) -> list[tuple[str, int, str]]:
    return sorted(
        (f["path"], f[line], f["code"]) for f in report["findings"] if f["status"] == "open"
    )
