"""What models take and give, and what is no fault of theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from examined import examined, image, model, net

from bncodemod.verify.model import Cause, Check, Outcome, SiteKind, Verdict
from bncodemod.verify.verdicts import judge

ANSWERS = {
    "a dict": '{"out": y, "aux": [y.mean(), None, "text"]}',
    "a tuple": "(y, (y + 1,), 3)",
    "a dataclass": "Answer(y, {'more': y * 2})",
    "a namespace": "types.SimpleNamespace(out=y)",
    "a distribution": "torch.distributions.Normal(y, y.exp(), validate_args=False)",
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_answers(tmp_path: Path, answer: str) -> None:
    text = f"""
    import types
    from dataclasses import dataclass

    @dataclass
    class Answer:
        out: torch.Tensor
        more: dict

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = ⟪nn.BatchNorm2d(3, track_running_stats=False)⟫

        def forward(self, x):
            y = self.bn(x)
            return {answer}
    """
    said = examined(tmp_path, text, **image())
    assert said.failed() == []
    assert said.result(Check.GRAD).outcome is Outcome.PASSED


def test_an_answer_of_integers_has_no_gradients(tmp_path: Path) -> None:
    text = net("⟪nn.BatchNorm2d(3, track_running_stats=False)⟫", "self.bn(x).argmax(1)")
    said = examined(tmp_path, text, **image())
    assert said.failed() == []
    assert said.result(Check.GRAD).outcome is Outcome.SKIPPED
    assert said.result(Check.VMAP).outcome is Outcome.PASSED


def test_a_function_that_trains_the_model_that_it_gives_back(tmp_path: Path) -> None:
    text = """
    def trained(rate=0.1):
        net = nn.Sequential(⟪nn.BatchNorm2d(3, track_running_stats=False)⟫, nn.Flatten())
        loss = net(torch.randn(4, 3, 6, 6)).square().mean()
        loss.backward()
        torch.optim.SGD(net.parameters(), rate).step()
        return net
    """
    said = examined(tmp_path, text)
    assert said.failed("trained") == []
    assert said.result(Check.ENSEMBLE, "trained").outcome is Outcome.PASSED


@pytest.mark.parametrize(("settings", "guessed"), [({}, True), (image(), False)])
def test_inputs_that_were_guessed_are_told_apart(
    tmp_path: Path, settings: dict[str, Any], guessed: bool
) -> None:
    said = examined(tmp_path, net("⟪nn.GroupNorm(1, 3)⟫"), **settings)
    (site,) = said.judged(SiteKind.CALL)
    assert (site.verdict, site.guessed) == (Verdict.VERIFIED, guessed)


def test_one_value_for_a_channel(tmp_path: Path) -> None:
    text = net("⟪nn.BatchNorm1d(6, track_running_stats=False)⟫")
    said = examined(tmp_path, text, **model("", (2, 6)))
    assert said.failed() == []
    single = said.result(Check.SINGLE)
    assert (single.outcome, single.cause) == (Outcome.NOTED, Cause.SINGLE_SAMPLE)
    assert "pairs of samples" in said.result(Check.GRAD).message


def test_a_note_on_pairs_of_samples_says_nothing_of_batch_norms(tmp_path: Path) -> None:
    text = net("⟪nn.GroupNorm(4, 4)⟫")
    said = examined(tmp_path, text, **model("", (2, 4)))
    (note,) = (note for note in said.of("Net").notes if "pairs" in note)
    assert "batch norm" not in note


def test_weights_that_are_computed(tmp_path: Path) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.utils.weight_norm(nn.Conv2d(3, 4, 3))
            self.bn = ⟪nn.BatchNorm2d(4, track_running_stats=False)⟫

        def forward(self, x):
            return self.bn(self.conv(x))
    """
    said = examined(tmp_path, text, **image())
    assert said.result(Check.VMAP).outcome is Outcome.PASSED


def test_lazy_layers(tmp_path: Path) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.LazyConv2d(4, 3)
            self.bn = ⟪nn.LazyBatchNorm2d(track_running_stats=False)⟫

        def forward(self, x):
            return self.bn(self.conv(x))
    """
    said = examined(tmp_path, text, **image())
    assert said.result(Check.VMAP).outcome is Outcome.PASSED
    assert said.of("Net").sites == said.job.sites


def test_rounding_that_float64_cannot_settle_is_no_difference(tmp_path: Path) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(1, 8, 3, padding=1)
            self.bn = ⟪nn.BatchNorm1d(8, track_running_stats=False)⟫
            self.rnn = nn.LSTM(8, 8, batch_first=True)

        def forward(self, x):
            return self.rnn(self.bn(self.conv(x)).transpose(1, 2))[0]  # here
    """
    said = examined(tmp_path, text)
    assert {result.cause for result in said.failed()} == {Cause.RNN}
    (site,) = judge(said.job.sites, {}, said.candidates, "cpu")
    assert site.failure is not None
    assert site.failure.check is Check.VMAP


BATCH_NORM_1D = "nn.BatchNorm1d(4, track_running_stats=False)"


def test_what_only_a_device_refuses_leads_to_other_inputs(tmp_path: Path) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.randn(LENGTH, 4))
            self.bn = ⟪nn.BatchNorm1d(4, track_running_stats=False)⟫

        def forward(self, ids):
            return self.bn(self.table[ids].transpose(1, 2))
    """
    said = examined(tmp_path, text.replace("LENGTH", "10"))
    assert said.verdicts(SiteKind.CALL) == [(BATCH_NORM_1D, Verdict.VERIFIED)]
    said = examined(tmp_path, text.replace("LENGTH", "1"))
    assert said.verdicts(SiteKind.CALL) == [(BATCH_NORM_1D, Verdict.NOT_REACHED)]
    assert said.of("Net").error.startswith("Net could not be fed: ")
    assert "out of" in said.of("Net").error
