"""Models that draw random numbers: no fault of their norms, and said; what else fails is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from examined import Examined, examined, image

from bncodemod.verify.model import Cause, Check, CheckResult, Outcome, SiteKind, Verdict

NET = """
class DropPath(nn.Module):
    def __init__(self, drop_prob=0.5):
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x):
        if not self.training or not self.drop_prob:
            return x
        keep = 1 - self.drop_prob
        {mask}
        return x * mask

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn = ⟪nn.BatchNorm2d(3, track_running_stats=False)⟫
        self.drop = {layer}

    def forward(self, x):
        return {answer}  # here
"""
OF_A_BATCH = "mask = x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(keep)  # here"
OF_ITS_OWN = "mask = torch.zeros(x.shape[0], 1, 1, 1).bernoulli_(keep)  # here"
COIN = "mask = float(torch.rand(()).item() < keep)  # here"
ON_ITEM = "mask = float(x.abs().sum().item() > 0) * (torch.rand_like(x) < keep)  # here"
ON_PLAIN = "mask = torch.zeros(x.shape); mask.copy_(x); mask = mask > torch.rand(())  # here"


def net(
    mask: str = OF_A_BATCH, layer: str = "DropPath()", answer: str = "self.drop(self.bn(x))"
) -> str:
    return NET.format(mask=mask, layer=layer, answer=answer)


def noted(said: Examined) -> list[CheckResult]:
    """What is said of random numbers."""
    causes = (Cause.RANDOMNESS, Cause.STOCHASTIC_DEPTH)
    results = [result for result in said.of("Net").checks if result.cause in causes]
    assert all(result.outcome is Outcome.NOTED for result in results)
    return results


def is_marked(said: Examined, result: CheckResult) -> bool:
    """Whether a result names a line of the source that has a mark."""
    line = Path(said.job.path).read_text().splitlines()[result.line - 1]
    return result.path == said.job.path and "# here" in line


RUNNING = {
    "dropout": ({"layer": "nn.Dropout2d(0.5)"}, "different"),
    "dropout in place": ({"layer": "nn.Dropout(0.5, inplace=True)"}, "different"),
    "a function": ({"answer": "F.dropout(self.bn(x), 0.5, self.training)"}, "different"),
    "a mask of the batch": ({"mask": OF_A_BATCH}, "different"),
    "a mask of its own": ({"mask": OF_ITS_OWN}, "same"),
    "a coin": ({"mask": COIN}, "same"),
}


@pytest.mark.parametrize(("parts", "how"), RUNNING.values(), ids=RUNNING)
@pytest.mark.parametrize(
    "checks", [frozenset(Check), frozenset({Check.GRAD})], ids=["all checks", "one check"]
)
def test_what_vmap_is_to_be_told(
    tmp_path: Path, parts: dict[str, str], how: str, checks: frozenset[Check]
) -> None:
    said = examined(tmp_path, net(**parts), checks=checks, **image())
    assert said.failed() == []
    assert [verdict for _, verdict in said.verdicts(SiteKind.CALL)] == [Verdict.VERIFIED]
    (result,) = noted(said)
    assert f"randomness={how!r}" in result.remedy
    assert is_marked(said, result)


FAILING = {
    "a value is asked for": (ON_ITEM, Cause.ITEM),
    "in place on what is plain": (ON_PLAIN, Cause.IN_PLACE),
}


@pytest.mark.parametrize(("mask", "cause"), FAILING.values(), ids=FAILING)
@pytest.mark.parametrize(
    "first", ["self.bn(x)", "F.dropout(self.bn(x))"], ids=["alone", "behind dropout"]
)
@pytest.mark.parametrize(
    "checks", [frozenset(Check), frozenset({Check.ENSEMBLE})], ids=["all checks", "one check"]
)
def test_what_fails_in_a_random_layer(
    tmp_path: Path, mask: str, cause: Cause, first: str, checks: frozenset[Check]
) -> None:
    text = net(mask=mask, answer=f"self.drop({first})")
    said = examined(tmp_path, text, checks=checks, **image())
    (site,) = said.judged(SiteKind.CALL)
    assert site.verdict is Verdict.FAILED
    assert site.failure is not None
    assert site.failure.cause is cause
    assert is_marked(said, site.failure)


def test_what_has_no_rule_is_not_put_down_to_randomness(tmp_path: Path) -> None:
    said = examined(tmp_path, net(layer="nn.RReLU()"), **image())
    assert {result.cause for result in said.failed()} == {Cause.NO_RULE}


def test_what_is_off_to_compare_is_said(tmp_path: Path) -> None:
    text = net(layer="nn.Sequential(nn.Dropout2d(0.5), DropPath(0.5))")
    said = examined(tmp_path, text, **image())
    assert "switched off to compare: DropPath, Dropout2d" in said.of("Net").notes


def test_random_numbers_where_running_statistics_fail_too(tmp_path: Path) -> None:
    text = net(layer="nn.Sequential(nn.Dropout(), ⟪nn.BatchNorm2d(3)⟫)")
    said = examined(tmp_path, text, **image())
    assert [verdict for _, verdict in said.verdicts(SiteKind.CALL)] == [
        Verdict.VERIFIED,
        Verdict.FAILED,
    ]
    assert len(noted(said)) == 1


@pytest.mark.parametrize("number", ["random.random()", "float(numpy.random.rand())"])
def test_numbers_that_vmap_does_not_know_to_be_random(tmp_path: Path, number: str) -> None:
    text = "import random, numpy\n" + net(layer="nn.Identity()", answer=f"self.bn(x) * {number}")
    said = examined(tmp_path, text, **image())
    assert said.failed() == []
    (result,) = noted(said)
    assert number.partition(".rand")[0].removeprefix("float(") in result.message
    assert "one for all" in result.remedy
