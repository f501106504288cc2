"""When answers count as equal, under which settings, and how long they took."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from examined import examined, image, net

from bncodemod.verify.comparing import TOLERANCE, difference, differs
from bncodemod.verify.model import Check, Outcome
from bncodemod.verify.reproducible import reproducible
from bncodemod.verify.timing import median

NET = net("⟪nn.GroupNorm(1, 3)⟫")


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_the_tolerance_of_a_type(dtype: torch.dtype) -> None:
    one = torch.full((4,), 2.0, dtype=dtype)
    assert differs(one, one) == ""
    assert differs(one * (1 + 3 * TOLERANCE[dtype]), one) != ""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.zeros(2), torch.zeros(3)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        (torch.tensor([1, 2]), torch.tensor([1, 3])),
        (torch.tensor([1.0, float("nan")]), torch.tensor([1.0, 2.0])),
        (torch.tensor([1.0, float("inf")]), torch.tensor([2.0, float("inf")])),
    ],
    ids=["shape", "type", "whole numbers", "NaN", "beside infinity"],
)
def test_what_differs(one: torch.Tensor, other: torch.Tensor) -> None:
    assert differs(one, other) != ""


def test_rounding_around_zero_is_no_difference() -> None:
    large, zeros = torch.randn(2, 9), torch.zeros(2, 9)
    noise = 1e-8 * torch.randn(2, 9)
    loop = list(zip(large, zeros, strict=True))
    assert difference((large, noise), loop) == ""
    assert difference((large, noise + 1e-3), loop) != ""


def test_another_number_of_answers() -> None:
    one = torch.zeros(2, 3)
    assert difference((one, one), [(one[0],), (one[1],)]) == "2 tensors instead of 1"


def test_the_settings_are_put_back() -> None:
    before = torch.backends.cudnn.allow_tf32, torch.are_deterministic_algorithms_enabled()
    with reproducible():
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
        assert torch.are_deterministic_algorithms_enabled()
    after = torch.backends.cudnn.allow_tf32, torch.are_deterministic_algorithms_enabled()
    assert after == before


def test_times(tmp_path: Path) -> None:
    said = examined(tmp_path, NET, time=True, **image())
    times = said.timed().timings
    assert [(each.what, each.size) for each in times] == [("vmap", 8), ("ensemble", 8)]
    assert all(each.loop > 0 and each.vmap > 0 and each.seconds > 0 for each in times)
    assert said.timed().notes == ()


def test_what_has_no_parameters_has_no_ensemble_to_time(tmp_path: Path) -> None:
    source = net("⟪nn.BatchNorm2d(3, affine=False, track_running_stats=False)⟫")
    times = examined(tmp_path, source, time=True, **image()).timed()
    assert [each.what for each in times.timings] == ["vmap"]
    assert times.notes == ("not timed: ensemble: it has no parameters to stack",)


def test_what_cannot_be_timed_leaves_the_checks(tmp_path: Path) -> None:
    source = """
CALLS = []

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn = ⟪nn.GroupNorm(1, 3)⟫

    def forward(self, x):
        CALLS.append(x.shape)
        if len(CALLS) > 30:
            raise ValueError("too many\\nof them")
        return self.bn(x)
"""
    checks = frozenset({Check.META_VMAP, Check.FORWARD})
    said = examined(tmp_path, source, time=True, checks=checks, **image())
    assert [result.outcome for result in said.of("Net").checks] == [Outcome.PASSED] * 2
    assert said.timed().timings == ()
    assert said.timed().notes == (
        "not timed: vmap of 8: ValueError: too many",
        "not timed: ensemble of 8: ValueError: too many",
    )


def test_a_median_takes_several_runs() -> None:
    runs: list[int] = []
    median(lambda: runs.append(1), torch.device("cpu"))
    assert len(runs) > 3


def test_code_that_names_float32_is_run_in_float64(tmp_path: Path) -> None:
    source = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.bn = ⟪nn.BatchNorm2d(3, track_running_stats=False)⟫

    def forward(self, x):
        steps = torch.arange(x.shape[-1], device=x.device).float()
        grid = torch.ones(x.shape[-2:], dtype=torch.float32, device=x.device) + steps
        grid = grid + torch.zeros(x.shape[-2:]).to(torch.float32)
        return F.grid_sample(self.bn(self.conv(x)), torch.stack([grid, grid], -1).expand(
            x.shape[0], -1, -1, -1), align_corners=False)
"""
    said = examined(tmp_path, source, **image())
    assert said.result(Check.GRAD).message == "compared in float64"
    assert torch.get_default_dtype() is torch.float32
