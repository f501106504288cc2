"""Checks against the sources before the rewrite."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest
from examined import HEAD, Examined, parse

from bncodemod.core import rewrite
from bncodemod.settings import Settings
from bncodemod.verify.examine import examine
from bncodemod.verify.model import Cause, Check, Event, Job, Outcome
from bncodemod.verify.sites import find_sites

CHECKS = frozenset({Check.META_VMAP, Check.ORIGINAL_FAILS, Check.STATE_DICT, Check.BIT_IDENTICAL})
NET = """
from .parts import Block

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block(3, 8)
        self.bn = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(self.bn(self.block(x)))
"""
PARTS = """
class Block(nn.Module):
    def __init__(self, inputs, outputs, norm=nn.BatchNorm2d):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3)
        self.bn = norm(outputs)

    @torch.jit._overload_method  # which torch allows a class of one name only once
    def forward(self, x: torch.Tensor):
        pass

    def forward(self, x):
        return self.bn(self.conv(x)).relu()
"""
_numbers = itertools.count()


def against(folder: Path, after: dict[str, str], net: str = NET) -> Examined:
    """Examine ``net.py`` of a package whose originals stand in a folder of their own."""
    package = f"package_{next(_numbers)}"
    before = {"net.py": net, "parts.py": PARTS}
    for root, files in (("new", before | after), ("old", before)):
        place = folder / root / package
        place.mkdir(parents=True)
        (place / "__init__.py").write_text("")
        for name, text in files.items():
            (place / name).write_text(HEAD + text)
    sites = {}
    for path in (folder / "new" / package).glob("*.py"):
        findings = rewrite(path.read_bytes(), str(path), Settings()).findings
        sites[path.name] = find_sites(path.read_bytes(), str(path), findings)
    job = Job(
        str(folder / "new" / package / "net.py"),
        f"{package}.net",
        str(folder / "new"),
        sites["net.py"],
        other_sites=sites["parts.py"],
        checks=CHECKS,
        original_root=str(folder / "old"),
    )
    events: list[Event] = []
    examine(job, events.append)
    return Examined(job, events)


def rewritten(strategy: str) -> dict[str, str]:
    result = {}
    for name, text in (("net.py", NET), ("parts.py", PARTS)):
        done = rewrite((HEAD + text).encode(), name, Settings(strategy=strategy))
        assert done.after is not None
        result[name] = done.after.decode().removeprefix(HEAD)
    return result


def outcomes(said: Examined) -> dict[Check, Outcome]:
    """What the checks came to, without remarks."""
    return {check: said.result(check).outcome for check in CHECKS}


def test_no_running_stats(tmp_path: Path) -> None:
    said = against(tmp_path, rewritten("no-running-stats"))
    assert outcomes(said) == {
        Check.META_VMAP: Outcome.PASSED,
        Check.ORIGINAL_FAILS: Outcome.PASSED,
        Check.STATE_DICT: Outcome.NOTED,
        Check.BIT_IDENTICAL: Outcome.PASSED,
    }
    lost = said.result(Check.STATE_DICT).message
    assert "6 lost (2 num_batches_tracked, 2 running_mean, 2 running_var)" in lost
    assert "gained" not in lost


def test_group_norm(tmp_path: Path) -> None:
    said = against(tmp_path, rewritten("group-norm"))
    assert outcomes(said)[Check.ORIGINAL_FAILS] is Outcome.PASSED
    assert outcomes(said)[Check.BIT_IDENTICAL] is Outcome.SKIPPED


def test_nothing_rewritten(tmp_path: Path) -> None:
    said = against(tmp_path, {})
    assert said.result(Check.META_VMAP).cause is Cause.RUNNING_STATS
    assert outcomes(said)[Check.STATE_DICT] is Outcome.PASSED


def test_another_epsilon_changes_bits(tmp_path: Path) -> None:
    after = rewritten("no-running-stats")
    after["net.py"] = after["net.py"].replace("(8, ", "(8, eps=1e-4, ")
    result = against(tmp_path, after).result(Check.BIT_IDENTICAL)
    assert (result.outcome, result.cause) == (Outcome.FAILED, Cause.CHANGED)


LAZY = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.LazyConv2d(8, 3)
        self.bn = nn.LazyBatchNorm2d(AFFINE)

    def forward(self, x):
        return self.bn(self.conv(x))
"""


@pytest.mark.parametrize("affine", ["", "affine=False"])
def test_models_that_take_their_shapes_from_the_inputs(tmp_path: Path, affine: str) -> None:
    net = LAZY.replace("AFFINE", affine)
    done = rewrite((HEAD + net).encode(), "net.py", Settings())
    assert done.after is not None
    said = against(tmp_path, {"net.py": done.after.decode().removeprefix(HEAD)}, net)
    assert outcomes(said)[Check.ORIGINAL_FAILS] is Outcome.PASSED
    assert outcomes(said)[Check.BIT_IDENTICAL] is Outcome.PASSED


def test_the_rewritten_modules_are_back_afterwards(tmp_path: Path) -> None:
    said = against(tmp_path, rewritten("no-running-stats"))
    module = sys.modules[said.job.name]
    assert str(module.__file__) == said.job.path
    package = said.job.name.partition(".")[0]
    files = {m.__file__ for name, m in sys.modules.items() if name.startswith(package)}
    assert not any("/old/" in str(file) for file in files)


MODEL = """
class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 1), ⟪nn.GroupNorm(1, 4)⟫)
"""


@pytest.mark.parametrize(
    ("original", "outcome", "message"),
    [
        ("raise ImportError('gone')", Outcome.SKIPPED, "the original does not import: gone"),
        ("", Outcome.SKIPPED, "the original has no Net"),
        (
            "class Net:\n    def __init__(self): raise ValueError('no')",
            Outcome.SKIPPED,
            "the original cannot be built: ValueError: no",
        ),
        (None, Outcome.NOTED, "the original runs under vmap too"),
    ],
)
def test_other_originals(
    tmp_path: Path, original: str | None, outcome: Outcome, message: str
) -> None:
    path = tmp_path / "new" / f"package_{next(_numbers)}.py"
    plain, sites = parse(HEAD + MODEL, str(path))
    for folder, text in (("new", plain), ("old", plain if original is None else original)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / path.name).write_text(text)
    old = str(tmp_path / "old")
    job = Job(str(path), path.stem, str(path.parent), sites, checks=CHECKS, original_root=old)
    events: list[Event] = []
    examine(job, events.append)
    result = Examined(job, events).result(Check.ORIGINAL_FAILS)
    assert (result.outcome, result.message) == (outcome, message)


def test_what_the_rewrite_keeps_from_being_built(tmp_path: Path) -> None:
    norm = "partial(nn.BatchNorm2d, track_running_stats=False, groups=2)"
    said = against(tmp_path, {"net.py": NET.replace("Block(3, 8)", f"Block(3, 8, {norm})")})
    (failure,) = said.failed("Net")
    assert failure.cause is Cause.BROKEN
    assert "unexpected keyword argument 'groups'" in failure.message
    assert [site.text for site in failure.sites] == [norm]


def test_what_could_not_be_built_before_either(tmp_path: Path) -> None:
    broken = NET.replace("Block(3, 8)", "Block(3)")
    assert not against(tmp_path, {"net.py": broken}, net=broken).failed("Net")


READS = "return self.drop(self.bn(self.block(x))) - self.block.bn.running_mean.mean()"


def test_what_the_rewrite_keeps_from_running(tmp_path: Path) -> None:
    """Its parts would run: they do not stand for it."""
    net = NET.replace("return self.drop(self.bn(self.block(x)))", READS)
    after = rewritten("no-running-stats")
    said = against(tmp_path, {**after, "net.py": net}, net=net)
    (failure,) = said.failed("Net")
    assert failure.cause is Cause.BROKEN
    assert "'NoneType' object has no attribute 'mean' in forward" in failure.message
    assert (Path(failure.path).name, failure.line) == ("net.py", 16)


def test_what_did_not_run_before_either(tmp_path: Path) -> None:
    net = NET.replace("(self.block(x)))", "(self.block(x))).missing")
    said = against(tmp_path, {**rewritten("no-running-stats"), "net.py": net}, net=net)
    assert said.of("Net").checks == ()
    assert said.of("Net()").parts == ("bn",)
