"""Inputs that the user gives as Python: their values are used, and the batch is what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from candidates import Worker
from examined import HEAD, Examined, examined

from bncodemod.verify.inputs import Inputs
from bncodemod.verify.model import Cause, Check, Example, Outcome, Verdict

LOG = """
class Net(nn.Module):
    calls = 0

    def __init__(self):
        super().__init__()
        self.bn = ⟪nn.BatchNorm1d(3, track_running_stats=False)⟫

    def forward(self, x):
        Net.calls += COUNTED
        return self.bn(torch.log(x)) + Net.calls
"""
GRAPH = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(6, 3)
        self.bn = ⟪nn.BatchNorm1d(3, track_running_stats=False)⟫

    def forward(self, x, edges):
        h = self.lin(x)
        row, col = edges
        return self.bn(torch.zeros_like(h).index_add(0, row, h[col]))
"""
EDGES = "torch.tensor([[0, 1, 2, 3, 0, 2], [1, 2, 3, 0, 2, 0]])"


def of_inputs(folder: Path, *said: tuple[int, ...] | str, batch: bool = True) -> Inputs:
    """What a user's example gives a ``Net`` that takes anything."""
    text = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm1d(3, track_running_stats=False)

    def forward(self, *inputs):
        return inputs
"""
    examples = (Example("Net", "", said, batch),)
    return Worker(folder, HEAD + text).prepared("Net", examples).inputs


def with_example(
    folder: Path, text: str, *said: tuple[int, ...] | str, batch: bool = True
) -> Examined:
    return examined(folder, text, examples=(Example("Net", "", said, batch),))


def made(inputs: Inputs, **sizes: Any) -> list[list[Any]]:
    positional, _ = inputs.make("cpu", **{"batch": 5, **sizes})
    return [tensor.tolist() for tensor in positional]


def test_all_values_are_the_users(tmp_path: Path) -> None:
    inputs = of_inputs(tmp_path, "torch.tensor([2.0, 4.0, 8.0])", "torch.tensor([0, 1, 2])")
    assert made(inputs) == [[2.0, 4.0, 8.0, 2.0, 4.0], [0, 1, 2, 0, 1]]
    assert made(inputs, batch=1) == [[2.0], [0]]


def test_batches_of_a_stack_hold_other_samples(tmp_path: Path) -> None:
    for count in (2, 3, 5):
        inputs = of_inputs(tmp_path, f"torch.arange({count})")
        (stacked,) = made(inputs, stack=2)
        assert sorted(stacked[0]) != sorted(stacked[1])


def test_a_single_sample_shrinks(tmp_path: Path) -> None:
    (stacked,) = made(of_inputs(tmp_path, "torch.full((1, 4), 3.0)"), stack=2)
    values = torch.tensor(stacked)
    assert values[0, 0].tolist() == [3.0] * 4
    assert values.min() >= 2.7
    assert values.max() == 3.0
    assert len(values.unique()) > 30


def test_shapes_follow_the_first_size(tmp_path: Path) -> None:
    inputs = of_inputs(tmp_path, (2, 4), "torch.arange(6)", "torch.arange(3)")
    assert inputs.text == "(N, 4), (3N,) int, (3) int"


def test_kinds_are_kept(tmp_path: Path) -> None:
    inputs = of_inputs(tmp_path, "torch.ones(2, 3, dtype=torch.uint8)", "torch.ones(2, dtype=bool)")
    (bytes_, flags), _ = inputs.make("cpu", batch=2)
    assert (bytes_.dtype, flags.dtype) == (torch.uint8, torch.bool)


def test_a_model_of_positive_numbers_is_compared(tmp_path: Path) -> None:
    for counted, outcome in ((0, Outcome.PASSED), (1, Outcome.FAILED)):
        text = LOG.replace("COUNTED", str(counted))
        said = with_example(tmp_path, text, "torch.rand(4, 3, 8) + 0.1")
        assert said.result(Check.VMAP).outcome is outcome


def test_what_is_not_compared_is_not_verified(tmp_path: Path) -> None:
    said = with_example(tmp_path, LOG.replace("COUNTED", "1"), "-torch.rand(4, 3, 8)")
    assert said.result(Check.VMAP).outcome is Outcome.SKIPPED
    (result,) = said.judged(said.job.sites[0].kind)
    assert result.verdict is Verdict.NOT_REACHED
    assert "no finite number to compare: give an example" in result.reason


def test_inputs_without_a_batch(tmp_path: Path) -> None:
    said = with_example(tmp_path, GRAPH, "torch.randn(4, 6)", EDGES, batch=False)
    assert said.of("Net").inputs == "(4, 6), (2, 6) int"
    assert said.failed() == []
    assert said.result(Check.VMAP).outcome is Outcome.PASSED
    assert said.result(Check.GRAD).outcome is Outcome.PASSED
    assert said.result(Check.SINGLE).outcome is Outcome.SKIPPED
    assert [verdict for _, verdict in said.verdicts(said.job.sites[0].kind)] == [Verdict.VERIFIED]


def test_a_shape_without_a_batch_is_whole(tmp_path: Path) -> None:
    inputs = of_inputs(tmp_path, (4, 6), EDGES, batch=False)
    (nodes, edges), _ = inputs.make("cpu", batch=5, stack=2)
    assert nodes.shape == (2, 4, 6)
    assert not nodes[0].equal(nodes[1])
    assert edges[0].equal(edges[1])


def test_a_failure_with_a_batch_says_how_to_say_that_there_is_none(tmp_path: Path) -> None:
    said = with_example(tmp_path, GRAPH, "torch.randn(4, 6)", EDGES)
    (failure,) = [each for each in said.failed() if each.check is Check.GRAD]
    assert failure.cause is Cause.OTHER
    assert "batch = false" in failure.remedy


@pytest.mark.parametrize("call", ["torch.zeros(2, 3, 8)", "torch.ones(1, 3, 8)"])
def test_values_of_calls_in_the_project_are_no_ones_word(tmp_path: Path, call: str) -> None:
    text = """
class Net(nn.Module):
    def __init__(self, depth):
        super().__init__()
        assert depth == 7
        self.bn = ⟪nn.BatchNorm1d(3, track_running_stats=False)⟫

    def forward(self, x):
        return self.bn(x)
"""
    said = examined(tmp_path, text, calls=(Example("Net", "7", (call,)),))
    assert said.failed() == []
    assert said.result(Check.CONSTANT).outcome is Outcome.PASSED
