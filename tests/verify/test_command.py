"""`bncodemod verify` and `--verify`, on real files, with real workers and torch."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bncodemod.cli import main

NET = """\
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, norm=nn.BatchNorm2d):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3),
            norm(8),
            nn.ReLU(),
            nn.Conv2d(8, 4, 3),
            nn.BatchNorm2d(4),
        )

    def forward(self, x):
        return self.layers(x)
"""
# Nothing says what `plan` is.
NEEDS_HELP = """\
import torch.nn as nn


class Planned(nn.Module):
    def __init__(self, plan):
        super().__init__()
        self.norm = nn.BatchNorm1d(plan["width"], track_running_stats=False)

    def forward(self, x):
        return self.norm(x)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    return tmp_path


def run(*args: str) -> Result:
    result = CliRunner().invoke(main, args, prog_name="bncodemod")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.stderr
    return result


def test_what_was_not_rewritten_fails_and_what_was_passes(project: Path) -> None:
    Path("net.py").write_text(NET)
    before = run("verify", "--device=cpu", "net.py")
    assert before.exit_code == 1
    failed = (
        "[failed] meta-vmap, running-stats: running statistics are updated in place, which vmap"
    )
    assert f"net.py:5:29 {failed}" in before.stdout
    assert f"net.py:12:13 {failed}" in before.stdout
    assert "2 sites = 0 verified + 2 failed + 0 not reached; coverage 0.0 %" in before.stdout

    after = run("--verify", "--format=json", "net.py")
    assert after.exit_code == 0, after.stdout
    report = json.loads(after.stdout)
    assert report["summary"]["rewritten"] == 2
    sites = report["verification"]["sites"]
    assert [(s["path"], s["verdict"], s["rewritten"]) for s in sites] == [
        ("net.py", "verified", True)
    ] * 2
    # The original is at hand: it fails, and in train mode its outputs are the same.
    assert {"vmap", "grad", "ensemble", "original-fails", "bit-identical"} <= set(
        sites[0]["checks"]
    )

    again = run("--verify", "net.py")
    assert again.exit_code == 0
    assert "0 sites = 0 verified" in again.stdout


def git(*arguments: str) -> None:
    options = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *options, *arguments], check=True, capture_output=True)


def test_against_a_revision(project: Path) -> None:
    Path("net.py").write_text(NET)
    git("init")
    git("add", "net.py")
    git("commit", "-m", "x")
    with_group_norm = NET.replace("nn.BatchNorm2d(4)", "nn.GroupNorm(1, 4)")
    Path("net.py").write_text(with_group_norm)
    result = run("verify", "--against=HEAD", "--format=json", "--checks=vmap,state-dict", "net.py")
    (site,) = json.loads(result.stdout)["verification"]["sites"]
    assert (site["text"], site["verdict"]) == ("nn.GroupNorm(1, 4)", "verified")
    assert run("verify", "--against=nowhere", "net.py").exit_code == 2


@pytest.mark.parametrize("way", ["table", "file"])
def test_examples(project: Path, way: str) -> None:
    Path("net.py").write_text(NEEDS_HELP)
    if way == "table":
        text = "[[tool.bncodemod.verify.example]]\nname = 'Planned'\narguments = '{\"width\": 6}'\n"
    else:
        text = "[tool.bncodemod.verify]\nexamples = 'examples.py'\n"
        Path("examples.py").write_text(
            "from bncodemod.verify import Example\n"
            "EXAMPLES = [Example('net:Planned', '{\"width\": 6}', ((3, 6),))]\n"
        )
    Path("pyproject.toml").write_text(text)
    result = run("verify", "-v", "--require-coverage=100", "net.py")
    assert result.exit_code == 0, result.stdout
    assert "net.py:7:21 [verified] in Planned" in result.stdout
    assert "(as the user says)" in result.stdout


def test_examples_beside_a_rewrite(project: Path) -> None:
    Path("net.py").write_text(NEEDS_HELP.replace(", track_running_stats=False", ""))
    Path("examples.py").write_text(
        "from bncodemod.verify import Example\nEXAMPLES = [Example('Planned', '{\"width\": 6}')]\n"
    )
    result = run("--verify", "--examples=examples.py", "-v", "net.py")
    assert "net.py:7:21 [verified] in Planned" in result.stdout
    assert run("--examples=examples.py", "net.py").exit_code == 2


MODELS = """\
import torch
from torch import nn
from torch.func import vmap
from torchvision.ops import Conv2dNormActivation


def backbone():
    return Conv2dNormActivation(3, 4)


def views(model, images):
    return vmap(model)(images)


def main(name):
    net = Conv2dNormActivation(3, 4)
    open(name).read()
    return vmap(net)(torch.ones(2, 2, 3, 4, 4))
"""


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        (
            ("runtime-patch", "--patch=keep-statistics"),
            (
                "net.py:19:12 [verified] in backbone: ",
                "net.py:28:5 [not reached] main is not known to give back the model",
                "2 sites = 1 verified + 0 failed + 1 not reached",
            ),
        ),
        (
            ("eval-mode",),
            (
                "net.py:28:5 [verified] in views: eval-mode, mode-restored",
                "net.py:35:5 [not reached] main did not show it: main(name=a batch) raised",
                "2 sites = 1 verified + 0 failed + 1 not reached",
            ),
        ),
    ],
)
def test_what_is_written_around_models(
    project: Path, strategy: tuple[str, ...], said: tuple[str, ...]
) -> None:
    """Beside the rewrite, and in a run of its own over what was rewritten before."""
    imports_torchvision = Path(__file__).parents[1] / "torchvision_import.py"
    Path("net.py").write_text(MODELS)
    Path("examples.py").write_text(f"{imports_torchvision.read_text()}\nprepare()\n")
    result = run("--strategy", *strategy, "--verify", "--examples=examples.py", "-v", "net.py")
    assert [part in result.stdout for part in said] == [True] * len(said), result.stdout
    alone = run("verify", "--examples=examples.py", "-v", "net.py").stdout
    assert [part in alone for part in said[:-1]] == [True, True], alone


def test_the_page_shows_what_is_said(project: Path) -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs" / "verify.md").read_text(encoding="utf-8")
    shown = page.partition("```console\n$ ")[2].partition("```")[0]
    Path("jacobian.py").write_bytes((root / "examples" / "jacobian.py").read_bytes())
    Path("pyproject.toml").write_text("[tool.bncodemod.verify]\ndevice = 'cpu'\n")
    for command, _, said in (part.partition("\n") for part in shown.split("\n$ ")):
        written = run(*command.split()[3:]).stdout.splitlines()
        assert lines_that_stay(written) == lines_that_stay(said.splitlines())


def lines_that_stay(lines: list[str]) -> list[str]:
    """Those that are the same whatever machine and version of torch it is."""
    varies = re.compile(r"on |equal: |longest |[\d.]+ s ")
    return [line for line in lines if line and not varies.match(line)]


def test_an_example_that_does_not_work_is_said(project: Path) -> None:
    Path("net.py").write_text(NEEDS_HELP)
    Path("pyproject.toml").write_text(
        "[tool.bncodemod.verify]\n"
        "example = [{name = 'Planned', arguments = '3'}, {name = 'Gone', arguments = ''}]\n"
    )
    said = run("verify", "net.py").stderr
    assert "Note: an example is for Gone, which no module of the run defines" in said
    assert "Note: the example for Planned is no help: Planned(3) failed: TypeError" in said


def test_a_site_is_reached_by_way_of_another_module(project: Path) -> None:
    Path("pkg").mkdir()
    Path("pkg/__init__.py").write_text("")
    Path("pkg/norms.py").write_text(
        "from functools import partial\nimport torch.nn as nn\n\n"
        "NORM = partial(nn.BatchNorm2d, track_running_stats=False)\n"
    )
    Path("pkg/net.py").write_text(
        "from torch import nn\nfrom .norms import NORM\n\n\nclass Net(nn.Sequential):\n"
        "    def __init__(self):\n        super().__init__(nn.Conv2d(3, 8, 3), NORM(8))\n"
    )
    result = run("verify", "-v", "pkg")
    assert result.exit_code == 0
    assert "pkg/norms.py:4:8 [verified] in Net: " in result.stdout


def test_too_little_is_covered(project: Path) -> None:
    Path("net.py").write_text(NEEDS_HELP + "\n\nraise ImportError('not here')\n")
    assert run("verify", "net.py").exit_code == 0
    result = run("verify", "--require-coverage=50", "net.py")
    assert result.exit_code == 1
    assert "net.py [not imported] ImportError: not here (1 site not reached)" in result.stdout
    assert "coverage 0.0 % is below the 50 % required" in result.stdout


def test_nothing_is_to_be_covered(project: Path) -> None:
    Path("net.py").write_text("x = 1\n")
    result = run("verify", "--require-coverage=50", "net.py")
    assert result.exit_code == 0
    assert result.stdout == (
        "0 sites = 0 verified + 0 failed + 0 not reached\n"
        "nothing was to be verified: the coverage that is required says nothing here\n"
    )


def test_a_file_that_does_not_parse_is_an_error(project: Path) -> None:
    """Its sites are not known: no coverage speaks for them."""
    Path("bad.py").write_text(f"{NET}x = nn.GroupNorm(1, 8\n")
    Path("net.py").write_text(NET.replace("norm(8)", "norm(8, 1)"))
    alone = run("verify", "--require-coverage=100", "bad.py")
    assert alone.exit_code == 2
    assert "bad.py [not read] it cannot be read as Python: " in alone.stdout
    assert "1 file not read" in alone.stdout
    assert "[not read]" in run("verify", "-q", "bad.py").stdout
    beside = run("verify", "--format=json", "--checks=vmap", ".")
    assert beside.exit_code == 2
    found = json.loads(beside.stdout)["verification"]
    assert {site["path"] for site in found["sites"]} == {"net.py"}
    assert [module["unread"] for module in found["modules"]] == [True, False]


def test_a_module_that_kills_its_worker(project: Path) -> None:
    Path("a.py").write_text(
        NET.replace("        super().__init__()\n", "        import ctypes; ctypes.string_at(0)\n")
        + "\n\ngroup = nn.GroupNorm(1, 8)\nx = Net\n\n\nclass Late(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        while True:\n"
        "            self.norm = nn.GroupNorm(1, 8)\n"
    )
    Path("b.py").write_text(NET.replace("BatchNorm2d(4)", "GroupNorm(1, 4)"))
    result = run("verify", "--timeout=15", "--trace", "a.py", "b.py")
    assert result.exit_code == 1
    assert "Late was not built: it took longer than 15 s, at a.py:" in result.stdout
    assert "b.py:5:29 [failed] meta-vmap, running-stats" in result.stdout
    assert "Net was not built: the process was killed by SIGSEGV" in result.stdout


def test_a_model_that_hangs_is_not_said_to_be_unbuilt(project: Path) -> None:
    Path("a.py").write_text(
        "from torch import nn\n\n\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.norm = nn.GroupNorm(1, 4)\n\n"
        "    def forward(self, x):\n"
        "        while x.is_cpu:\n            pass\n"
        "        return self.norm(x)\n"
    )
    result = run("verify", "--timeout=5", "-v", "--device=cpu", "a.py")
    assert "a.py:4 [stopped] Net: it took longer than 5 s, at a.py:1" in result.stdout
    assert "not built" not in result.stdout


def test_a_check_that_takes_too_long_is_left_out_and_named(project: Path) -> None:
    Path("a.py").write_text(
        "import torch\nfrom torch import nn\n\n\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.norm = nn.GroupNorm(1, 4)\n\n"
        "    def forward(self, x):\n"
        "        while x.is_cpu and x.dtype is torch.float64:  # as gradients are taken\n"
        "            pass\n"
        "        return self.norm(x)\n"
    )
    checks = "--checks=meta-vmap,vmap,grad,independence"
    result = run("verify", "--timeout=5", checks, "-v", "--device=cpu", "a.py")
    assert result.exit_code == 0
    assert "in Net: meta-vmap, vmap, independence; took too much: grad\n" in result.stdout
    assert "1 verified without a check that took too much" in result.stdout
    alone = run("verify", "--timeout=5", "--checks=grad", "--format=json", "--device=cpu", "a.py")
    (site,) = json.loads(alone.stdout)["verification"]["sites"]
    assert (site["verdict"], site["unfinished"]) == ("not reached", [])
    assert "not compared: it took longer than 5 s, at a.py:11" in site["reason"]


def test_wrong_usage(project: Path) -> None:
    Path("net.py").write_text(NET)
    assert run("verify").exit_code == 2
    assert run("verify", "--checks=vmp", "net.py").exit_code == 2
    assert run("verify", "--device=gpu", "net.py").exit_code == 2
    assert run("verify", "-q", "-v", "net.py").exit_code == 2
    assert run("--verify", "--check", "net.py").exit_code == 2
    assert run("verify", "--device=cuda:99", "net.py").exit_code == 2
    assert "torch sees" in run("verify", "--device=cuda:99", "net.py").stderr
    Path("pyproject.toml").write_text("[tool.bncodemod.verify]\nsed = 3\n")
    assert 'verify.sed: unknown key; did you mean "seed"?' in run("verify", "net.py").stderr
    assert run("net.py").exit_code == 2  # before anything is written
    assert Path("net.py").read_text() == NET


def python(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *args]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_without_torch_nothing_is_written(project: Path) -> None:
    Path("net.py").write_text(NET)
    code = "import sys\nsys.modules['torch'] = None\nfrom bncodemod.cli import main\nmain()"
    for arguments in (["verify", "net.py"], ["--verify", "net.py"]):
        done = python(code, *arguments)
        assert done.returncode == 2
        assert done.stderr == (
            "Error: the verifier runs your code and needs torch, which is not installed\n"
            "    remedy: pip install 'bncodemod[verify]', in the environment that your code"
            " runs in\n"
        )
    assert Path("net.py").read_text() == NET


def test_a_rewrite_takes_the_options_of_the_verifier(project: Path) -> None:
    Path("net.py").write_text(NET + "    def head(self, x):\n        return x.item()\n")
    Path("loss.py").write_text(NET.replace("self.layers(x)", "self.layers(x) * x.sum().item()"))
    options = "--device=cpu", "--checks=meta-vmap,vmap", "--time", "--trace"
    done = run("--verify", *options, "-v", "net.py", "loss.py")
    assert done.exit_code == 1
    assert "[verified] in Net: meta-vmap, vmap\n" in done.stdout
    assert "    | Traceback" in done.stdout
    assert re.search(r"^Net +vmap +8 ", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("option", ["--trace", "--time", "--device=cpu", "--require-coverage=9"])
def test_options_of_the_verifier_alone(project: Path, option: str) -> None:
    Path("net.py").write_text(NET)
    done = run(option, "net.py")
    assert done.exit_code == 2
    assert f"{option.partition('=')[0]} has no effect without --verify" in done.stderr
    assert Path("net.py").read_text() == NET


def test_the_driver_imports_neither_torch_nor_the_code(project: Path) -> None:
    Path("net.py").write_text(NET + "\nprint('imported')\n")
    done = python(
        "import sys\n"
        "from bncodemod.verify import verify_paths\n"
        "found = verify_paths('net.py')\n"
        "assert len(found.sites) == 2 and found.coverage == 0\n"
        "assert [m.output for m in found.modules] == ['imported']\n"
        "assert not {'torch', 'net'} & set(sys.modules)\n"
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_a_folder_with_a_module_called_torch_does_no_harm(project: Path) -> None:
    Path("net.py").write_text(NET)
    Path("sub").mkdir()
    Path("sub/torch.py").write_text("raise RuntimeError('the wrong one')\n")
    os.chdir("sub")
    assert "2 failed" in run("verify", "--checks=meta-vmap", "../net.py").stdout
