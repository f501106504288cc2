"""The scripts of the example project, run for real: they fail as they stand, and run rewritten."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from bncodemod.core import rewrite
from bncodemod.model import Status
from bncodemod.settings import Settings

torch = pytest.importorskip("torch")

EXAMPLES = Path(__file__).parent.parent / "examples"
NO_STATISTICS = Settings("no-running-stats")
GROUP_NORM = Settings("group-norm")
KEEP_STATISTICS = Settings("runtime-patch", patch="keep-statistics")
EVAL_MODE = Settings("eval-mode")
AUTO = Settings("auto")

# The strategies that fit what a script does, the best one first.
FITTING = {
    "ensemble": (NO_STATISTICS, GROUP_NORM, AUTO),
    "maml": (NO_STATISTICS, GROUP_NORM, AUTO),
    "per_sample_gradients": (GROUP_NORM, NO_STATISTICS, AUTO),
    "dp_sgd": (GROUP_NORM, NO_STATISTICS, AUTO),
    "pretrained": (KEEP_STATISTICS, AUTO),
    "jacobian": (EVAL_MODE, AUTO),
}
CASES = [
    pytest.param(script, settings, id=f"{script}-{settings.strategy}")
    for script, fitting in FITTING.items()
    for settings in fitting
]


def run(path: Path) -> dict[str, Any]:
    """The names that a script leaves behind."""
    if "torchvision" in path.read_text():
        pytest.importorskip("torchvision_import").prepare()
    torch.manual_seed(0)
    return runpy.run_path(str(path), run_name="__main__")


def rewritten(script: str, settings: Settings, folder: Path) -> Path:
    source = EXAMPLES / f"{script}.py"
    result = rewrite(source.read_bytes(), str(source), settings)
    assert not result.errors
    assert result.after is not None
    path = folder / f"{script}.py"
    path.write_bytes(result.after)
    return path


@pytest.mark.parametrize("script", FITTING)
def test_a_script_fails_as_it_stands(script: str) -> None:
    with pytest.raises(RuntimeError, match=r"running_mean|mutate a captured Tensor"):
        run(EXAMPLES / f"{script}.py")


@pytest.mark.parametrize(("script", "settings"), CASES)
def test_a_script_runs_after_its_rewrite(script: str, settings: Settings, tmp_path: Path) -> None:
    """That it ends at all is what the rewrite is for: as it stands it raises."""
    assert run(rewritten(script, settings, tmp_path))


def test_pretrained_statistics_still_count_in_eval_mode(tmp_path: Path) -> None:
    names = run(rewritten("pretrained", KEEP_STATISTICS, tmp_path))
    checkpoint = tmp_path / "checkpoint.pth"
    names["make_checkpoint"](checkpoint)
    patched, images = names["load"](checkpoint), torch.randn(4, 3, 32, 32)
    original = names["models"].resnet18(num_classes=10)
    original.load_state_dict(torch.load(checkpoint, weights_only=True))
    assert torch.equal(names["predict"](patched, images), names["predict"](original, images))
    assert patched.state_dict().keys() == original.state_dict().keys()


def test_private_gradients_do_not_depend_on_the_other_samples(tmp_path: Path) -> None:
    names = run(rewritten("dp_sgd", GROUP_NORM, tmp_path))
    optimizer = names["PrivateSGD"](names["ConvNet"]())
    x, y = torch.randn(8, 1, 28, 28), torch.randint(0, 10, (8,))
    all_of_them = optimizer.sample_gradients(x, y)
    for key, value in optimizer.sample_gradients(x[2:4], y[2:4]).items():
        torch.testing.assert_close(value, all_of_them[key][2:4], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings", [NO_STATISTICS, AUTO], ids=["no-running-stats", "auto"])
def test_each_member_of_an_ensemble_predicts_as_it_does_alone(
    settings: Settings, tmp_path: Path
) -> None:
    names = run(rewritten("ensemble", settings, tmp_path))
    members, x = [names["Regressor"]() for _ in range(3)], torch.randn(16, 8)
    for number, member in enumerate(members):  # each sees data of its own
        member(torch.randn(32, 8) * (1 + number) + number)
    together = names["predict"](members, x)
    for member, found in zip(members, together, strict=True):
        for alone in (member(x), member.eval()(x)):
            torch.testing.assert_close(found, alone, rtol=1e-4, atol=1e-5)


def test_eval_mode_leaves_an_ensemble_of_parameters_alone() -> None:
    source = EXAMPLES / "ensemble.py"
    result = rewrite(source.read_bytes(), str(source), EVAL_MODE)
    assert result.after is None
    (call,) = (finding for finding in result.findings if finding.code == "BN113")
    assert call.status is Status.OPEN
    assert "stack_module_state" in call.remedy


def test_the_jacobian_is_that_of_eval_mode(tmp_path: Path) -> None:
    names = run(rewritten("jacobian", EVAL_MODE, tmp_path))
    model, x = names["model"], names["x"]
    modes = [module.training for module in model.modules()]
    found = names["sensitivity"](model, x[:2])
    assert [module.training for module in model.modules()] == modes
    model.eval()
    rows = [torch.autograd.functional.jacobian(model, row[None]) for row in x[:2]]
    expected = torch.stack([row.squeeze(0).squeeze(1) for row in rows])
    torch.testing.assert_close(found, expected)
