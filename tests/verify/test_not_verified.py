"""What a model hides, and must not be verified for all that runs in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from examined import examined

from bncodemod.verify.examine import examine
from bncodemod.verify.model import Cause, Check, Event, SiteKind, Verdict


@pytest.mark.parametrize("size", [80, 8000])
def test_a_dear_model_whose_vmap_differs_though_its_parts_do_not(tmp_path: Path, size: int) -> None:
    source = f"""
class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc = nn.Linear(width, width)
        self.norm = ⟪nn.GroupNorm(2, width)⟫

    def forward(self, x):
        return self.norm(self.fc(x))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block(8)
        self.big = nn.Sequential(nn.Linear(8, {size}), nn.Linear({size}, {size}))

    def forward(self, x):
        if torch._C._functorch.peek_interpreter_stack() is not None:
            return self.big(self.block(x).roll(1, 0))
        return self.big(self.block(x))
"""
    [result] = examined(tmp_path, source).judged(SiteKind.CALL)
    assert result.verdict is Verdict.FAILED
    assert result.failure is not None
    assert result.failure.cause is Cause.DIFFERS


MAKERS = {
    "a subclass": "class Sub(Net):\n    def __init__(self):\n        super().__init__(8, True)",
    "a subclass with another attribute": "class Sub(Net):\n    stats = True",
    "a function": "def make(**kwargs):\n    return Net(8, **kwargs)\n\n"
    "def kept():\n    return make(stats=True)",
}


STATS = """
class Net(nn.Module):
    stats = False

    def __init__(self, width=8, stats=None):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        stats = self.stats if stats is None else stats
        self.bn = ⟪nn.BatchNorm2d(width, track_running_stats=stats)⟫

    def forward(self, x):
        return self.bn(self.conv(x))

"""


@pytest.mark.parametrize("maker", MAKERS)
def test_what_has_a_norm_of_the_line_keep_its_statistics_is_tried_too(
    tmp_path: Path, maker: str
) -> None:
    [result] = examined(tmp_path, STATS + MAKERS[maker]).judged(SiteKind.CALL)
    assert (result.verdict, result.passed_in) == (Verdict.FAILED, "Net")


def test_a_line_that_another_modules_model_has_verified_may_make_other_norms(
    tmp_path: Path,
) -> None:
    said = examined(tmp_path, STATS + MAKERS["a subclass"], checks=frozenset())
    job = replace(said.job, done=frozenset(said.job.sites), checks=frozenset(Check))
    events: list[Event] = []
    examine(job, events.append)
    [result] = replace(said, job=job, events=events).judged(SiteKind.CALL)
    assert (result.verdict, result.candidate) == (Verdict.FAILED, "Sub")


SWITCHES = ["part.track_running_stats = True", "setattr(part, 'track_running_stats', True)"]


@pytest.mark.parametrize("switch", SWITCHES)
def test_statistics_that_are_switched_on_later(tmp_path: Path, switch: str) -> None:
    source = f"""
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn = ⟪nn.BatchNorm2d(3, track_running_stats=False)⟫

    def forward(self, x):
        return self.bn(x)

def keeping():
    net = Net()
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            {switch}
            part.running_mean, part.running_var = torch.zeros(3), torch.ones(3)
    return net
"""
    [result] = examined(tmp_path, source).judged(SiteKind.CALL)
    assert (result.verdict, result.passed_in) == (Verdict.FAILED, "Net")


ANSWERS = {
    "none": ("self.kept = y", Verdict.NOT_REACHED),
    "no finite number": ("return y / 0 - y / 0", Verdict.NOT_REACHED),
    "a generator": ("return (each for each in [y])", Verdict.FAILED),
    "an object with slots": ("return Slots(y)", Verdict.FAILED),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_that_differs_is_found_or_not_compared(tmp_path: Path, answer: str) -> None:
    text, verdict = ANSWERS[answer]
    source = f"""
class Slots:
    __slots__ = ("y",)

    def __init__(self, y):
        self.y = y

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn = ⟪nn.BatchNorm1d(8, track_running_stats=False)⟫

    def forward(self, x):
        y = self.bn(x)
        if torch._C._functorch.peek_interpreter_stack() is not None:
            y = y.roll(1, 0) + 3
        {text}
"""
    [result] = examined(tmp_path, source).judged(SiteKind.CALL)
    assert result.verdict is verdict


@pytest.mark.parametrize("draws", ["random.random()", "np.random.rand()"])
def test_generators_of_python_and_numpy_start_from_the_same_seed(
    tmp_path: Path, draws: str
) -> None:
    source = f"""
import random
import numpy as np

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn = ⟪nn.BatchNorm1d(8, track_running_stats=False)⟫

    def forward(self, x):
        return self.bn(x) * {draws}
"""
    said = examined(tmp_path, source)
    assert [verdict for _, verdict in said.verdicts(SiteKind.CALL)] == [Verdict.VERIFIED]


def test_a_norm_whose_error_is_caught_has_not_run(tmp_path: Path) -> None:
    source = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn = ⟪nn.BatchNorm1d(8)⟫

    def forward(self, x):
        try:
            return self.bn(x)
        except RuntimeError:
            return F.batch_norm(x, None, None, training=True)
"""
    [result] = examined(tmp_path, source).judged(SiteKind.CALL)
    assert result.verdict is not Verdict.VERIFIED
