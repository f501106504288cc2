"""What is fed by guess, and what else the project feeds it."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from examined import Examined, examined

from bncodemod.verify import verify_paths
from bncodemod.verify.model import Cause, Check, SiteKind, Verdict, Verification
from bncodemod.verify.options import Options

CHECKS = frozenset({Check.META_VMAP, Check.CONSTANT, Check.INDEPENDENCE})
HEAD = """
class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = NORM

    def forward(self, x):
        return self.norm(x)
"""
NET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.head = Head()

    def forward(self, x, targets=None):
        x = self.conv(x)
        GIVEN
        return self.head(x)
"""
ONE_TO_A_GROUP = "⟪nn.GroupNorm(8, 8)⟫"
POOLED = "x = x.mean((2, 3))"


def net(given: str) -> str:
    return NET.replace("GIVEN", textwrap.indent(given, " " * 8).strip())


def said_of(folder: Path, norm: str, rest: str) -> Examined:
    return examined(folder, HEAD.replace("NORM", norm) + rest, checks=CHECKS)


def verdict(said: Examined) -> tuple[Verdict, Cause | None]:
    [result] = said.judged(SiteKind.CALL)
    return result.verdict, result.failure and result.failure.cause


@pytest.mark.parametrize(
    "given",
    [
        POOLED,
        "x = x.mean((2, 3), keepdim=True)",
        f"self.head(x)\n{POOLED}",
        f"{POOLED}\nself.head(x)\nassert targets is not None",
        "x = x.mean((2, 3), keepdim=True)\nself.head(x)\nassert targets is not None",
    ],
    ids=["axes", "maps-of-one", "twice", "in-parts", "in-parts-maps-of-one"],
)
def test_a_head_that_is_fed_single_values(tmp_path: Path, given: str) -> None:
    said = said_of(tmp_path, ONE_TO_A_GROUP, net(given))
    assert verdict(said) == (Verdict.FAILED, Cause.CONSTANT)


@pytest.mark.parametrize("given", ["", f"y = {POOLED[4:]}"])
def test_a_head_that_is_fed_maps(tmp_path: Path, given: str) -> None:
    said = said_of(tmp_path, ONE_TO_A_GROUP, net(given))
    assert verdict(said) == (Verdict.VERIFIED, None)


def test_groups_of_several_channels_are_left_something(tmp_path: Path) -> None:
    said = said_of(tmp_path, "⟪nn.GroupNorm(2, 8)⟫", net(POOLED))
    assert verdict(said) == (Verdict.VERIFIED, None)


@pytest.mark.parametrize("norm", ["⟪nn.GroupNorm(1, 8)⟫", ONE_TO_A_GROUP])
def test_a_head_that_is_fed_a_batch_in_one_sample(tmp_path: Path, norm: str) -> None:
    said = said_of(tmp_path, norm, net("x = x.flatten(2).permute(1, 0, 2).reshape(1, 8, -1)"))
    assert verdict(said) == (Verdict.FAILED, Cause.DEPENDENT)


@pytest.mark.parametrize(
    ("before", "user"),
    [
        ("", "def net(size):\n    return nn.Sequential(nn.Linear(size, 8), Head())\n"),
        ("", "net = nn.Sequential(nn.Linear(4, 8), Head())\n"),
        (net(""), "class Whole(Net):\n    def forward(self, x):\n        return self.head(x)\n"),
    ],
    ids=["function", "instance", "subclass"],
)
def test_who_else_uses_it(tmp_path: Path, before: str, user: str) -> None:
    said = said_of(tmp_path, ONE_TO_A_GROUP, f"{before}\n{user}")
    first, *others = [each.name for each in said.candidates if each.checks]
    assert first == "Head"
    assert len(others) == 1


def test_a_user_that_was_passed_by_for_another_line(tmp_path: Path) -> None:
    other = """
class Other(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = ⟪nn.GroupNorm(2, width)⟫

    def forward(self, x):
        return self.norm(x)
"""
    said = said_of(tmp_path, ONE_TO_A_GROUP, other + net(POOLED))
    verdicts = dict(said.verdicts(SiteKind.CALL))
    assert verdicts[ONE_TO_A_GROUP.strip("⟪⟫")] is Verdict.FAILED
    assert verdicts["nn.GroupNorm(2, width)"] is Verdict.VERIFIED


def test_norms_of_the_batch_need_no_users(tmp_path: Path) -> None:
    said = said_of(tmp_path, "⟪nn.BatchNorm1d(8, track_running_stats=False)⟫", net(POOLED))
    assert [each.name for each in said.candidates if each.checks] == ["Head"]


def verified(folder: Path, **files: str) -> Verification:
    for name, text in files.items():
        path = folder / f"{name}.py"
        path.write_text("import torch\nfrom torch import nn\n" + text)
    return verify_paths([folder], Options(device="cpu", checks=CHECKS))


@pytest.mark.parametrize(
    ("imported", "used"),
    [
        ("from heads import Head", "Head"),
        ("from heads import Head as Other", "Other"),
        ("import heads", "heads.Head"),
    ],
)
def test_a_user_in_another_file(tmp_path: Path, imported: str, used: str) -> None:
    head = HEAD.replace("NORM", "nn.GroupNorm(8, 8)")
    found = verified(tmp_path, heads=head, net=f"{imported}\n{net(POOLED).replace('Head', used)}")
    [result] = found.sites
    assert (result.verdict, result.passed_in) == (Verdict.FAILED, "Head")
    assert result.failure is not None
    assert result.failure.cause is Cause.CONSTANT


def test_a_user_of_a_user(tmp_path: Path) -> None:
    head = HEAD.replace("NORM", "nn.GroupNorm(8, 8)")
    neck = "from heads import Head\ndef neck():\n    return nn.Sequential(Head(), nn.ReLU())\n"
    whole = f"import necks\n{net(POOLED).replace('Head()', 'necks.neck()')}"
    [result] = verified(tmp_path, heads=head, necks=neck, net=whole).sites
    assert result.verdict is Verdict.FAILED
    assert result.candidate == "Net"
