"""The same on the CPU and, where there is one, on a CUDA device."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from examined import as_found, examined, image, model, net

from bncodemod.settings import load_configuration
from bncodemod.sweep.run import sweep
from bncodemod.verify import verify_paths
from bncodemod.verify.model import Cause, Check, Outcome, SiteKind, Verdict
from bncodemod.verify.options import Options

ON_CUDA = pytest.param(
    "cuda",
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device at hand"),
    ],
)
EXAMPLES = Path(__file__).parents[2] / "examples"
# Every check that runs on the device, of those that apply to one candidate without an original.
ON_DEVICE = {
    Check.FORWARD,
    Check.VMAP,
    Check.GRAD,
    Check.ENSEMBLE,
    Check.SINGLE,
    Check.EVAL,
    Check.CONSTANT,
}

pytestmark = pytest.mark.parametrize("device", ["cpu", ON_CUDA])


@pytest.mark.parametrize(
    "norm", ["nn.BatchNorm2d(8, track_running_stats=False)", "nn.GroupNorm(2, 8)"]
)
def test_what_was_rewritten_passes(tmp_path: Path, device: str, norm: str) -> None:
    said = examined(tmp_path, net(f"⟪{norm}⟫"), device=device, **model("", (2, 8, 5, 5)))
    assert said.failed() == []
    passed = {r.check for r in said.of("Net").checks if r.outcome is Outcome.PASSED}
    assert passed >= ON_DEVICE


def test_running_statistics_fail(tmp_path: Path, device: str) -> None:
    said = as_found(tmp_path, net("nn.BatchNorm2d(3)"), device=device, **image())
    assert said.result(Check.VMAP).outcome is not Outcome.PASSED
    assert said.result(Check.META_VMAP).cause is Cause.RUNNING_STATS
    assert [verdict for _, verdict in said.verdicts(SiteKind.CALL)] == [Verdict.FAILED]


def test_a_vmap_that_differs_from_its_loop_fails(tmp_path: Path, device: str) -> None:
    text = """
    CALLS = []

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = ⟪nn.BatchNorm2d(3, track_running_stats=False)⟫

        def forward(self, x):
            CALLS.append(1)
            return self.bn(x) + len(CALLS)
    """
    result = examined(tmp_path, text, device=device, **image()).result(Check.VMAP)
    assert (result.outcome, result.cause) == (Outcome.FAILED, Cause.DIFFERS)


def test_full_precision_is_used_while_answers_are_compared(tmp_path: Path, device: str) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = ⟪nn.BatchNorm2d(3, track_running_stats=False)⟫

        def forward(self, x):
            if torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32:
                raise RuntimeError("TF32 is on")
            if not torch.are_deterministic_algorithms_enabled():
                raise RuntimeError("algorithms need not be deterministic")
            return self.bn(x)
    """
    assert examined(tmp_path, text, device=device, **image()).failed() == []


def test_speed_is_measured(tmp_path: Path, device: str) -> None:
    text = net("⟪nn.BatchNorm2d(3, track_running_stats=False)⟫")
    timings = examined(tmp_path, text, device=device, time=True, **image()).timed().timings
    assert timings
    assert all(timing.loop > 0 and timing.vmap > 0 for timing in timings)


@pytest.mark.parametrize("strategy", ["no-running-stats", "group-norm"])
def test_a_rewritten_file_is_verified_by_workers(
    tmp_path: Path, device: str, strategy: str
) -> None:
    """Whole: the rewrite, worker processes, the checks against the original."""
    shutil.copy(EXAMPLES / "resnet.py", tmp_path)
    configuration = load_configuration([tmp_path], {"strategy": strategy})
    written = list(sweep([tmp_path], configuration, write=True))
    found = verify_paths([tmp_path], Options(device=device), rewritten=written)
    assert found.device.startswith(device)
    assert {result.verdict for result in found.sites} == {Verdict.VERIFIED}
    checks = {result.check for each in found.candidates for result in each.checks}
    assert checks >= ON_DEVICE | {Check.ORIGINAL_FAILS, Check.STATE_DICT}
