"""The command line, on real files with the real core."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pytest_snapshot.plugin import Snapshot

from bncodemod import __version__
from bncodemod.cli import main
from bncodemod.rules import pages
from bncodemod.verify.pages import PAGES

MODEL = """\
import torch.nn as nn

norm = nn.BatchNorm2d(8)
"""
REWRITTEN = MODEL.replace("(8)", "(8, track_running_stats=False)")
GROUPED = MODEL.replace("BatchNorm2d(8)", "GroupNorm(2, 8)")
OPEN = """\
import torch.nn as nn


def build(kind, c):
    return getattr(nn, kind + "Norm2d")(c)
"""
BROKEN = "print 'Python 2', BatchNorm2d\n"
CLEAN = "x = 1\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    return tmp_path


def make(**files: str | bytes) -> None:
    """Files by name, without their suffix; two underscores stand for a slash."""
    for name, text in files.items():
        path = Path(name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


def run(*args: str, stdin: str | bytes = "") -> Result:
    result = CliRunner().invoke(main, args, input=stdin, prog_name="bncodemod")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.stderr
    return result


def python(*args: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, *args], capture_output=True, check=False, **options)


# --- what is done, and the exit code --------------------------------------------------------------


def test_rewrites_in_place(project: Path) -> None:
    make(a=MODEL, b=CLEAN)
    result = run(".")
    assert (result.exit_code, result.stderr) == (0, "")
    assert Path("a.py").read_text() == REWRITTEN
    assert Path("b.py").read_text() == CLEAN
    again = run(".")
    assert (again.exit_code, Path("a.py").read_text()) == (0, REWRITTEN)


@pytest.mark.parametrize("option", ["--check", "--diff"])
def test_dry_runs_change_nothing(project: Path, option: str) -> None:
    make(a=MODEL)
    assert run(option, ".").exit_code == 1
    assert run(option, "--exit-zero", ".").exit_code == 0
    assert Path("a.py").read_text() == MODEL
    make(a=REWRITTEN)
    assert run(option, ".").exit_code == 0


def test_an_open_finding_is_exit_code_1(project: Path) -> None:
    make(a=OPEN)
    assert run(".").exit_code == 1
    assert run("--exit-zero", ".").exit_code == 0
    assert Path("a.py").read_text() == OPEN


def test_an_error_is_exit_code_2_and_the_others_are_done(project: Path) -> None:
    make(a=BROKEN, b=MODEL)
    result = run("--exit-zero", ".", "missing.py")
    assert result.exit_code == 2
    assert "a.py:1 BN901 [error]" in result.stdout
    assert "missing.py BN902 [error]" in result.stdout
    assert "2 could not be handled" in result.stdout
    assert Path("b.py").read_text() == REWRITTEN


def test_nothing_to_read_is_said(project: Path) -> None:
    result = run(".")
    assert result.exit_code == 0
    assert "no Python files found" in result.stderr


def test_strategy_and_groups(project: Path) -> None:
    make(a=MODEL)
    assert run("--strategy", "group-norm", ".").exit_code == 0
    assert Path("a.py").read_text() == GROUPED
    make(a=MODEL)
    assert run("--strategy=group-norm", "--groups=4", "--min-group-size=2", ".").exit_code == 0
    assert "nn.GroupNorm(4, 8)" in Path("a.py").read_text()


def test_select_and_ignore(project: Path) -> None:
    make(a=MODEL)
    assert run("--check", "--ignore", "BN1", ".").exit_code == 0
    assert run("--check", "--ignore", "BN1", "--select", "BN101,BN9", ".").exit_code == 1
    assert run("--check", "--select", "BN9", ".").exit_code == 0


def test_exclude(project: Path) -> None:
    make(old__a=MODEL, venv__b=MODEL, c=CLEAN)
    assert run("--check", "--extend-exclude", "old", ".").exit_code == 0
    assert run("--check", "--exclude", "old", ".").exit_code == 1  # venv is no longer left out
    assert run("--check", "--extend-exclude", "old", "old/a.py").exit_code == 1
    forced = run("--check", "--extend-exclude", "old", "--force-exclude", "old/a.py")
    assert forced.exit_code == 0


def test_exclude_is_relative_to_the_current_folder(project: Path) -> None:
    make(root__m__old__a=MODEL)
    Path("root/pyproject.toml").write_text("[tool.bncodemod]\n")
    assert run("--check", "--extend-exclude", "root/m/old", "root").exit_code == 0
    os.chdir("root/m")
    assert run("--check", "--extend-exclude", "./old", ".").exit_code == 0


def test_jobs(project: Path) -> None:
    make(**{f"file{number}": MODEL for number in range(8)})
    result = run("--jobs", "2", ".")
    assert (result.exit_code, result.stdout.count("rewrote")) == (0, 8)


# --- standard input -------------------------------------------------------------------------------


def test_standard_input(project: Path) -> None:
    result = run("-", stdin=MODEL)
    assert (result.exit_code, result.stdout) == (0, REWRITTEN)
    assert "1 finding = 1 rewritten" in result.stderr
    assert run("-", stdin=CLEAN).stdout == CLEAN


def test_standard_input_keeps_every_byte(project: Path) -> None:
    source = b"\xef\xbb\xbf" + MODEL.replace("\n", "\r\n").encode() + b"# \xc3\xa9 no newline"
    done = python("-m", "bncodemod", "-", input=source)
    assert done.stdout == source.replace(b"(8)", b"(8, track_running_stats=False)")


def test_standard_input_with_findings(project: Path) -> None:
    result = run("-", "--stdin-filename", "model.py", stdin=OPEN)
    assert (result.exit_code, result.stdout) == (1, OPEN)
    assert "model.py:5:" in result.stderr
    assert "[open]" in result.stderr


def test_standard_input_that_cannot_be_handled(project: Path) -> None:
    result = run("-", stdin=BROKEN)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "<stdin>:1 BN901 [error]" in result.stderr


def test_standard_input_that_would_kill_the_process(project: Path) -> None:
    deep = f"import torch.nn as nn\nx = nn.BatchNorm2d({'(' * 5000}8{')' * 5000})\n"
    done = python("-m", "bncodemod", "-", input=deep.encode())
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"<stdin>" in done.stderr
    assert b"BN90" in done.stderr


def test_standard_input_dry(project: Path) -> None:
    check = run("--check", "-", stdin=MODEL)
    assert (check.exit_code, check.stdout) == (1, "")
    diff = run("--diff", "-", "--stdin-filename", "sub/m.py", stdin=MODEL)
    assert diff.exit_code == 1
    assert diff.stdout.startswith("--- a/sub/m.py\n+++ b/sub/m.py\n@@")


def test_standard_input_takes_the_settings_of_its_file_name(project: Path) -> None:
    make(models__a=CLEAN, old__a=CLEAN)
    Path("models/pyproject.toml").write_text('[tool.bncodemod]\nstrategy = "group-norm"\n')
    assert run("-", "--stdin-filename", "models/new.py", stdin=MODEL).stdout == GROUPED
    assert run("-", stdin=MODEL).stdout == REWRITTEN
    excluded = ("--extend-exclude", "old", "--force-exclude")
    assert run("-", "--stdin-filename", "old/a.py", *excluded, stdin=MODEL).stdout == MODEL


# --- reports --------------------------------------------------------------------------------------


def test_diff_is_a_patch_and_findings_go_to_standard_error(project: Path) -> None:
    crlf = MODEL.replace("\n", "\r\n").rstrip().encode()
    make(a=MODEL, sub__b=crlf, c=OPEN)
    diff = python("-m", "bncodemod", "--diff", ".")
    assert diff.returncode == 1
    assert b"c.py:5:" in diff.stderr
    subprocess.run(["git", "apply"], input=diff.stdout, check=True)
    assert Path("a.py").read_text() == REWRITTEN
    assert Path("sub/b.py").read_bytes() == crlf.replace(b"(8)", b"(8, track_running_stats=False)")


def test_json(project: Path) -> None:
    make(a=MODEL, b=OPEN, c=BROKEN)
    result = run("--diff", "--format", "json", "--statistics", ".")
    report = json.loads(result.stdout)
    assert (result.exit_code, result.stderr) == (2, "")
    assert report["version"] == 1
    assert report["summary"]["files"] == 3
    assert report["summary"]["applied"] is False
    assert [f["path"] for f in report["findings"]] == ["a.py", "b.py"]
    assert [e["code"] for e in report["errors"]] == ["BN901"]
    assert report["statistics"]["codes"]["BN101"]["rewritten"] == 1
    finding = report["findings"][0]
    assert (finding["line"], finding["column"], finding["end_column"]) == (3, 8, 25)
    assert (finding["before"], finding["status"]) == ("nn.BatchNorm2d(8)", "rewritten")
    assert finding["after"] == "nn.BatchNorm2d(8, track_running_stats=False)"


def test_json_of_standard_input(project: Path) -> None:
    result = run("-", "--format", "json", stdin=MODEL)
    assert result.stdout == REWRITTEN
    assert json.loads(result.stderr)["summary"]["rewritten"] == 1
    assert json.loads(run("-", "--check", "--format=json", stdin=MODEL).stdout)["version"] == 1


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--check"], id="check"),
        pytest.param(["--check", "--verbose"], id="verbose"),
        pytest.param(["--check", "--quiet"], id="quiet"),
        pytest.param(["--check", "--statistics"], id="statistics"),
    ],
)
def test_text(project: Path, snapshot: Snapshot, options: list[str]) -> None:
    make(
        a=MODEL + "safe = nn.BatchNorm2d(8, track_running_stats=False)\n",
        b=MODEL.replace("(8)", "(8)  # bncodemod: ignore"),
        c=CLEAN,
    )
    # What a stage takes is another number each time.
    said = re.sub(r"\d+\.\d\d$", "N.NN", run(*options, ".").output, flags=re.MULTILINE)
    snapshot.assert_match(said, "output.txt")


def test_a_pattern_of_colour_on_a_terminal(project: Path) -> None:
    make(a=MODEL)
    leader, follower = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"TERM": "xterm"}
    subprocess.run(
        [sys.executable, "-m", "bncodemod", "--check", "."],
        stdout=follower,
        stderr=follower,
        env=environment,
        check=False,
    )
    os.close(follower)
    assert b"\x1b[32mwould rewrite" in os.read(leader, 4096)
    os.close(leader)


# --- configuration --------------------------------------------------------------------------------


def test_overrides_of_pyproject(project: Path) -> None:
    make(models__a=MODEL, b=MODEL)
    Path("pyproject.toml").write_text(
        '[[tool.bncodemod.overrides]]\npaths = ["models/**"]\nstrategy = "group-norm"\n'
    )
    assert run(".").exit_code == 0
    assert Path("models/a.py").read_text() == GROUPED
    assert Path("b.py").read_text() == REWRITTEN


def test_the_command_line_wins(project: Path) -> None:
    make(a=MODEL)
    Path("pyproject.toml").write_text('[tool.bncodemod]\nstrategy = "group-norm"\ngroups = 1\n')
    assert run("--strategy", "no-running-stats", ".").exit_code == 0
    assert Path("a.py").read_text() == REWRITTEN


def test_wrong_configuration(project: Path) -> None:
    make(a=MODEL)
    Path("pyproject.toml").write_text('[tool.bncodemod]\nstratgy = "group-norm"\n')
    result = run(".")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"Error: {project}/pyproject.toml: tool.bncodemod.stratgy: unknown key;"
        ' did you mean "strategy"?\n'
    )
    assert Path("a.py").read_text() == MODEL


# --- strategies -----------------------------------------------------------------------------------


def test_auto_prints_its_reason_for_each_place(project: Path) -> None:
    make(a=MODEL, b="from torchvision import models\n\nnet = models.vgg11_bn(True)\n")
    shown = run("--strategy", "auto", "--check", ".").stdout
    assert "auto: the project's own source builds it" in shown
    assert "auto: weights may be loaded, and eval mode needs their statistics" in shown
    assert "auto:" not in run("--strategy", "auto", "--check", "--quiet", ".").stdout


def test_an_override_patches_and_keeps_statistics(project: Path) -> None:
    Path("pyproject.toml").write_text(
        "[[tool.bncodemod.overrides]]\npaths = ['b.py']\nthird-party = 'patch'\n"
    )
    source = "from torchvision import models\n\nnet = models.vgg11_bn()\n"
    Path("b.py").write_text(source)
    Path("c.py").write_text(source)
    assert run("--patch", "keep-statistics", "b.py", "c.py").exit_code == 1
    patched = "\nnet = models.vgg11_bn()\nfreeze_batch_norm_statistics(net)\n"
    assert Path("b.py").read_text().endswith(patched)
    assert Path("c.py").read_text() == source


# --- usage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "nothing to do"),
        (["-", "a.py"], "cannot be combined"),
        (["--stdin-filename", "a.py", "b.py"], "--stdin-filename needs -"),
        (["--quiet", "--verbose", "."], "exclude each other"),
        (["--groups", "0", "."], "--groups"),
        (["--groups", "8", "."], "no effect without --strategy group-norm or --patch group-norm"),
        (
            ["--patch", "replace", "."],
            "no effect without --strategy runtime-patch or --third-party",
        ),
        (["--strategy", "auto", "--patch", "replace", "."], "--patch has no effect"),
        (["--strategy", "auto", "--third-party", "patch", "."], "--third-party has no effect"),
        (
            ["--third-party", "patch", "--patch", "replace", "--groups", "8", "."],
            "--groups has no effect",
        ),
        (["--strategy", "groupnorm", "."], "'group-norm'"),
        (["--select", "F401", "."], "no rule code starts with 'F401'"),
        (["--ignore", "BN101,", "."], "no rule code starts with ''"),
        (["--checks", "."], "--check"),
    ],
)
def test_wrong_usage(project: Path, args: list[str], message: str) -> None:
    result = run(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_version(project: Path) -> None:
    assert run("--version").stdout == f"bncodemod {__version__}\n"


def test_help_names_every_option(project: Path, snapshot: Snapshot) -> None:
    result = run("--help")
    assert result.exit_code == 0
    for parameter in main.params:
        assert parameter.opts[0] in result.stdout or parameter.name == "paths"


def test_explain(project: Path) -> None:
    result = run("explain", "bn101")
    assert result.exit_code == 0
    assert result.stdout == f"BN101: {pages()['BN101'].strip()}\n"
    listed = [line.split()[0] for line in run("explain").stdout.splitlines()]
    assert listed == [*sorted(pages()), *PAGES]
    assert run("explain", "running-stats").stdout.startswith("running-stats: A norm updates")
    unknown = run("explain", "BN10l")
    assert unknown.exit_code == 2
    assert 'did you mean "BN10' in unknown.stderr


def test_a_path_called_explain_can_be_reached(project: Path) -> None:
    make(explain__a=MODEL)
    assert run("./explain").exit_code == 0
    assert Path("explain/a.py").read_text() == REWRITTEN


# --- start-up -------------------------------------------------------------------------------------


def test_start_up_imports_nothing_heavy(project: Path) -> None:
    make(a=CLEAN)
    program = (
        "import sys\nfrom bncodemod.cli import main\n"
        "try:\n    main(['--check', 'a.py'])\nexcept SystemExit as exit:\n"
        "    assert not exit.code, exit.code\n"
        "heavy = {'libcst', 'rich', 'torch', 'pathspec', 'json', 'tomllib', 'tomli', 'difflib',"
        " 'concurrent.futures', 'multiprocessing', 'dask'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = python("-c", program)
    assert done.stdout.splitlines()[-1] == b"[]", done


def test_an_interrupt_is_no_result(project: Path) -> None:
    make(a=MODEL)
    program = (
        "import signal, sys\nfrom bncodemod.cli import main\n"
        "def interrupt(frame, event, arg):\n"
        "    if frame.f_code.co_name == 'sweep':\n"
        "        sys.setprofile(None)\n        signal.raise_signal(signal.SIGINT)\n"
        "sys.setprofile(interrupt)\nmain(['a.py'])\n"
    )
    done = python("-c", program)
    assert done.returncode == 130
    assert b"Interrupted" in done.stderr
    assert Path("a.py").read_text() == MODEL
