"""Models that do not run as a whole: what they were seen to call is run on what they gave it."""

from __future__ import annotations

from pathlib import Path

import pytest
from examined import Examined, examined

from bncodemod.verify.model import Cause, Check, SiteKind, SiteResult, Verdict

DETECTOR = """
class Backbone(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = norm

    def forward(self, x, scale):
        return self.norm(self.conv(x)) * scale

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = Backbone(NORM)
        self.unused = nn.Sequential(nn.Conv2d(3, 8, 3), UNUSED)

    def forward(self, images, targets=None):
        if self.training and targets is None:
            raise AssertionError("targets should not be none in train mode")
        images = torch.stack([image for image in images])
        found = self.backbone(images, scale=0.5)
        return found[found.mean() > 0]
"""
DROPPED = "⟪nn.BatchNorm2d(8, track_running_stats=False)⟫"


def detector(folder: Path, norm: str, unused: str = "nn.ReLU()", **settings: object) -> Examined:
    return examined(folder, DETECTOR.replace("NORM", norm).replace("UNUSED", unused), **settings)


def only(said: Examined) -> SiteResult:
    [result] = said.judged(SiteKind.CALL)
    return result


def test_a_part_that_the_model_calls_in_eval_mode(tmp_path: Path) -> None:
    said = detector(tmp_path, DROPPED)
    result = only(said)
    assert (result.verdict, result.parts) == (Verdict.VERIFIED, ("backbone",))
    assert {Check.VMAP, Check.GRAD, Check.ENSEMBLE} <= set(result.checks)
    fed = said.of("Net()").inputs
    assert fed.startswith("backbone: (N, 3, ")
    assert fed.endswith("scale=0.5")
    assert "targets should not be none" in said.of("Net").error


def test_a_model_in_double_precision(tmp_path: Path) -> None:
    said = detector(tmp_path, DROPPED, unused="nn.ReLU())\n        self.to(torch.float64")
    assert only(said).verdict is Verdict.VERIFIED
    assert not said.failed("Net()")
    assert not said.result(Check.META_VMAP, "Net()").message


def test_a_part_is_checked_like_a_whole(tmp_path: Path) -> None:
    result = only(detector(tmp_path, "⟪nn.BatchNorm2d(8)⟫"))
    assert result.verdict is Verdict.FAILED
    assert result.failure is not None
    assert result.failure.cause is Cause.RUNNING_STATS


def test_a_part_that_the_model_does_not_call_shows_nothing(tmp_path: Path) -> None:
    said = detector(tmp_path, DROPPED, unused=DROPPED)
    assert [verdict for _, verdict in said.verdicts(SiteKind.CALL)] == [
        Verdict.VERIFIED,
        Verdict.NOT_REACHED,
    ]


def test_a_norm_of_the_line_that_keeps_statistics_in_a_part_that_is_not_called(
    tmp_path: Path,
) -> None:
    norms = "norms = [⟪nn.BatchNorm2d(8, track_running_stats=i > 0)⟫ for i in range(2)]"
    source = DETECTOR.replace("NORM", "norms[0]").replace("UNUSED", "norms[1]")
    said = examined(
        tmp_path, source.replace("self.backbone =", f"{norms}\n        self.backbone =")
    )
    assert only(said).verdict is Verdict.NOT_REACHED


def test_a_model_that_runs_as_a_whole_is_preferred(tmp_path: Path) -> None:
    whole = """
    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = Net().backbone

        def forward(self, x):
            return self.backbone(x, 2.0)
    """
    source = DETECTOR.replace("NORM", DROPPED).replace("UNUSED", "nn.ReLU()")
    result = only(examined(tmp_path, source + whole.replace("\n    ", "\n")))
    assert (result.verdict, result.candidate, result.parts) == (Verdict.VERIFIED, "Whole", ())


@pytest.mark.parametrize("ends", ["x[x.mean() > 0]", "x.missing", "1 / 0"])
def test_what_ran_before_the_model_fails_in_train_mode(tmp_path: Path, ends: str) -> None:
    source = f"""
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 8, 3), {DROPPED})
            self.huge = nn.Parameter(torch.empty(200_000_000, device="meta"))

        def forward(self, x):
            x = self.stem(x)
            return {ends}
    """
    result = only(examined(tmp_path, source, checks=frozenset({Check.META_VMAP})))
    assert (result.verdict, result.parts) == (Verdict.VERIFIED, ("stem",))


def test_a_part_of_a_part_that_does_not_run_to_its_end(tmp_path: Path) -> None:
    source = f"""
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.tower = nn.ModuleList([nn.Conv2d(3, 8, 3), {DROPPED}])

        def forward(self, x):
            for layer in self.tower:
                x = layer(x)
            raise ValueError("no boxes")

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = Head()

        def forward(self, x):
            return self.head(x)
    """
    result = only(examined(tmp_path, source))
    assert result.verdict is Verdict.VERIFIED
    assert result.parts in (("head.tower.1",), ("tower.1",))


def test_parts_say_nothing_of_a_model_that_asks_for_statistics(tmp_path: Path) -> None:
    """What the norm of a rewritten line does not keep: nobody knows whether it ran before."""
    source = f"""
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = {DROPPED.replace("8", "3")}

        def forward(self, x):
            return self.bn(x) - self.bn.running_mean.mean()
    """
    result = only(examined(tmp_path, source))
    assert result.verdict is Verdict.NOT_REACHED
    assert "'NoneType' object has no attribute 'mean'" in result.reason


def test_a_part_that_is_called_twice_is_run_on_both_inputs(tmp_path: Path) -> None:
    """GroupNorm of one channel to a group leaves nothing of what is no map."""
    source = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Sequential(nn.Identity(), ⟪nn.GroupNorm(8, 8)⟫)
            self.stem = nn.Conv2d(3, 8, 3)

        def forward(self, x):
            y = self.head(self.stem(x))
            z = self.head(y.mean((2, 3)))
            raise ValueError("no boxes")
    """
    result = only(examined(tmp_path, source))
    assert (result.verdict, result.candidate) == (Verdict.FAILED, "Net()")
    assert result.failure is not None
    assert result.failure.cause is Cause.CONSTANT


@pytest.mark.parametrize(
    ("given", "verdict"),
    [("self.stem(x)", Verdict.VERIFIED), ("self.stem(x).mean((2, 3), True)", Verdict.FAILED)],
    ids=["small", "single"],
)
def test_a_part_that_is_fed_single_values_only_by_small_images(
    tmp_path: Path, given: str, verdict: Verdict
) -> None:
    source = f"""
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 64, 64)
        self.head = nn.Sequential(nn.Identity(), ⟪nn.GroupNorm(8, 8)⟫)

    def forward(self, x):
        y = self.head({given})
        raise ValueError("no boxes")
"""
    assert only(examined(tmp_path, source)).verdict is verdict
