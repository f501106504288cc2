"""The hooks run under the real pre-commit, from a commit of this repository."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SITE = "import torch.nn as nn\n\nnorm = nn.BatchNorm2d(64)\n"
DONE = "import torch.nn as nn\n\nnorm = nn.BatchNorm2d(64, track_running_stats=False)\n"

pytestmark = pytest.mark.slow


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    project = tmp_path / "project"
    (project / "build").mkdir(parents=True)
    for name in ("model.py", "build/generated.py"):
        (project / name).write_text(SITE)
    git(project, "init", "--quiet")
    git(project, "add", "--force", "--all")
    git(project, "commit", "--quiet", "--message", "start")
    return project


def try_repo(project: Path, hook: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pre_commit", "try-repo", str(ROOT), hook, "--all-files"]
    environment = {**os.environ, "PRE_COMMIT_HOME": str(project.parent / "cache")}
    return subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False
    )


def test_the_check_hook_fails_and_writes_nothing(project: Path) -> None:
    done = try_repo(project, "bncodemod-check")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "would rewrite model.py" in done.stdout
    assert (project / "model.py").read_text() == SITE


def test_the_hook_rewrites_what_is_not_excluded(project: Path) -> None:
    done = try_repo(project, "bncodemod")
    assert "files were modified by this hook" in done.stdout, done.stdout + done.stderr
    assert (project / "model.py").read_text() == DONE
    assert (project / "build" / "generated.py").read_text() == SITE
