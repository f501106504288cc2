"""The README and the docs say what is true: their examples are run."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bncodemod.core import rewrite
from bncodemod.settings import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [
    line.partition("#")[0].strip()
    for language, text in BLOCKS
    if language == "console"
    for line in text.splitlines()
]


def rewritten(before: str, strategy: str) -> str:
    result = rewrite(before.encode(), "block.py", Settings(strategy=strategy))
    assert result.after is not None
    return result.after.decode()


def test_the_readme_shows_the_real_rewrite() -> None:
    before, after, group_norm = PYTHON[:3]
    assert rewritten(before, "no-running-stats") == after
    assert rewritten(before, "group-norm").endswith(group_norm)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("python -m bncodemod")])
def test_a_command_of_the_readme_runs(command: str) -> None:
    words = shlex.split(command)
    done = subprocess.run([sys.executable, *words[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    assert done.stdout.strip()
    assert "Traceback" not in done.stderr


def test_the_readme_installs_with_one_line_each() -> None:
    installs = [c for c in COMMANDS if "pip install" in c]
    assert installs == [
        "python -m pip install -c constraints.txt '.[verify]'"
        " && cp -r examples/. /tmp/bncodemod-examples"
        " && python -m bncodemod --verify --exit-zero /tmp/bncodemod-examples",
        "python -m pip install -c constraints.txt -e '.[test]' && python -m pytest",
    ]


def test_the_main_job_of_the_readme(tmp_path: Path) -> None:
    """What its first command does once all is installed, on a copy elsewhere."""
    command = next(c for c in COMMANDS if "--verify" in c).partition(" && ")[2]
    place = str(tmp_path / "copy")
    done = subprocess.run(
        command.replace("/tmp/bncodemod-examples", place).replace("python", sys.executable),
        shell=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    sites = re.search(r"(\d+) sites = (\d+) verified \+ 0 failed", done.stdout)
    assert sites is not None, done.stdout
    assert int(sites[2]) > int(sites[1]) / 2


def test_the_page_of_the_rules_is_up_to_date() -> None:
    generator = runpy.run_path(str(ROOT / "docs" / "generate_rules.py"))
    assert (ROOT / "docs" / "rules.md").read_text(encoding="utf-8") == generator["render"](), (
        "run python docs/generate_rules.py"
    )


@pytest.mark.parametrize(
    "name", ["README.md", *(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]
)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
