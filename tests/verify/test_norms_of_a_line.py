"""Which norms of a line a model makes, and which of them run under vmap: what verifies it."""

from __future__ import annotations

from pathlib import Path

import pytest
from examined import examined, image, net

from bncodemod.verify.model import Check, Example, Outcome, SiteKind, Verdict


def test_what_does_not_run_in_train_mode_under_vmap_is_not_verified(tmp_path: Path) -> None:
    source = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.frozen = ⟪nn.BatchNorm2d(3)⟫
        self.skipped = ⟪nn.GroupNorm(1, 3)⟫
        self.runs = ⟪nn.GroupNorm(3, 3)⟫

    def forward(self, x):
        self.frozen.eval()
        if not torch._C._functorch.is_batchedtensor(x):
            self.skipped(x)
        return self.runs(self.frozen(x))
"""
    said = examined(tmp_path, source, checks=frozenset({Check.META_VMAP, Check.VMAP}), **image())
    assert [verdict for _, verdict in said.verdicts(SiteKind.CALL)] == [
        Verdict.NOT_REACHED,
        Verdict.NOT_REACHED,
        Verdict.VERIFIED,
    ]


def test_a_norm_of_a_functions_call_that_runs_under_vmap_is_verified(tmp_path: Path) -> None:
    source = """
class Net(nn.Module):
    def forward(self, x):
        return ⟪F.batch_norm(x, None, None, training=True)⟫
"""
    said = examined(tmp_path, source, **image())
    assert [verdict for _, verdict in said.verdicts(SiteKind.CALL)] == [Verdict.VERIFIED]


def test_a_norm_of_the_line_that_keeps_statistics_and_does_not_run(tmp_path: Path) -> None:
    source = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList(⟪nn.BatchNorm2d(3, track_running_stats=i > 0)⟫ for i in range(2))

    def forward(self, x, domain=0):
        return self.norms[domain](x)
"""
    said = examined(tmp_path, source, **image())
    assert [verdict for _, verdict in said.verdicts(SiteKind.CALL)] == [Verdict.NOT_REACHED]


@pytest.mark.parametrize("holder", ["list", "tuple", "nn.ModuleList"])
@pytest.mark.parametrize(
    ("flag", "runs", "verdict"),
    [
        ("i > 0", "self.norms[:1]", Verdict.NOT_REACHED),
        ("i > 0", "self.norms", Verdict.FAILED),
        ("False", "self.norms[:1]", Verdict.VERIFIED),
    ],
)
def test_norms_in_a_plain_list_count(
    tmp_path: Path, holder: str, flag: str, runs: str, verdict: Verdict
) -> None:
    runs = runs.replace("self.norms", "list(self.norms)")
    source = f"""
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        norms = [⟪nn.BatchNorm2d(3, track_running_stats={flag})⟫ for i in range(2)]
        self.norms = {holder}(norms)

    def forward(self, x):
        for norm in {runs}:
            x = norm(x)
        return x
"""
    said = examined(tmp_path, source, **image())
    assert [found for _, found in said.verdicts(SiteKind.CALL)] == [verdict]


TWO_KINDS = {
    "one that keeps statistics is frozen": (
        "nn.BatchNorm2d(3, track_running_stats=i > 0)",
        "self.norms[1](self.norms[0](x))",
        Verdict.NOT_REACHED,
    ),
    "one of another class does not run": (
        "(nn.GroupNorm(1, 3) if i else nn.InstanceNorm2d(3))",
        "self.norms[0](x)",
        Verdict.NOT_REACHED,
    ),
    "one of two alike does not run": ("nn.GroupNorm(1, 3)", "self.norms[0](x)", Verdict.VERIFIED),
    "both run": (
        "(nn.GroupNorm(1, 3) if i else nn.InstanceNorm2d(3))",
        "self.norms[1](self.norms[0](x))",
        Verdict.VERIFIED,
    ),
}


@pytest.mark.parametrize(("norm", "answer", "verdict"), TWO_KINDS.values(), ids=TWO_KINDS)
def test_two_kinds_of_norms_of_one_line(
    tmp_path: Path, norm: str, answer: str, verdict: Verdict
) -> None:
    source = f"""
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList(⟪{norm}⟫ for i in range(2))

    def forward(self, x):
        self.norms[1].eval()
        return {answer}
"""
    said = examined(tmp_path, source, **image())
    assert [found for _, found in said.verdicts(SiteKind.CALL)] == [verdict]


@pytest.mark.parametrize("checks", [{Check.FORWARD}, {Check.EVAL, Check.SINGLE}])
def test_only_a_check_under_vmap_verifies(tmp_path: Path, checks: set[Check]) -> None:
    source = net("⟪nn.BatchNorm2d(3)⟫")
    said = examined(tmp_path, source, checks=frozenset(checks), **image())
    assert [verdict for _, verdict in said.verdicts(SiteKind.CALL)] == [Verdict.NOT_REACHED]


def test_a_model_that_fails_by_a_norm_that_is_no_site_says_where(tmp_path: Path) -> None:
    source = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = ⟪nn.BatchNorm2d(3, track_running_stats=False)⟫
        self.two = getattr(nn, "BatchNorm2d")(3)

    def forward(self, x):
        return self.two(self.one(x))
"""
    said = examined(tmp_path, source, **image())
    result = said.result(Check.META_VMAP)
    assert result.outcome is Outcome.PASSED
    assert [place.rpartition(":")[2] for place in result.elsewhere] == ["10"]


@pytest.mark.parametrize(
    ("argument", "verdict"),
    [
        ("8, stats=True", Verdict.FAILED),
        ("8, True", Verdict.FAILED),
        ("16", Verdict.VERIFIED),
        ("8, stats=False", Verdict.VERIFIED),
    ],
)
def test_a_call_that_makes_another_norm_of_the_line_is_tried_too(
    tmp_path: Path, argument: str, verdict: Verdict
) -> None:
    source = """
class Flag(nn.Module):
    def __init__(self, width=8, stats=False):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.bn = ⟪nn.BatchNorm2d(width, track_running_stats=stats)⟫

    def forward(self, x):
        return self.bn(self.conv(x))
"""
    said = examined(tmp_path, source, calls=(Example("Flag", argument),))
    assert [found for _, found in said.verdicts(SiteKind.CALL)] == [verdict]


def test_a_model_that_makes_norms_of_other_lines_only_is_said_to_make_those(
    tmp_path: Path,
) -> None:
    source = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn = ⟪nn.GroupNorm(1, 3)⟫

    def forward(self, x):
        return self.bn(x)

    def reset(self):
        self.bn = ⟪nn.GroupNorm(3, 3)⟫
"""
    said = examined(tmp_path, source)
    assert [found for _, found in said.verdicts(SiteKind.CALL)] == [
        Verdict.VERIFIED,
        Verdict.NOT_REACHED,
    ]
    assert all("makes none" not in each.error for each in said.candidates)
