"""What candidates are fed: ranks, sizes and kinds of inputs, found on meta."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from candidates import Worker

from bncodemod.verify.model import Example
from bncodemod.verify.refusal import Refusal


def model(layers: str, forward: str, parameters: str = "x") -> str:
    """The source of a model."""
    return f"""
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        {layers}

    def forward(self, {parameters}):
        {forward}
"""


CASES = {
    "vector": (
        model("self.net = nn.Sequential(nn.Linear(7, 5), nn.BatchNorm1d(5))", "return self.net(x)"),
        "(N, 7)",
    ),
    "sequence": (
        model("self.net = nn.Sequential(nn.Conv1d(6, 5, 3), nn.BatchNorm1d(5))",
              "return self.net(x)"),
        "(N, 6, 32)",
    ),
    "a dict that an annotation asks for": (
        model("self.net = nn.Sequential(nn.Linear(7, 5), nn.BatchNorm1d(5))",
              "return self.net(batch['data']) * batch['weight']", "batch: dict"),
        "{'data': (N, 7), 'weight': (N, 5)}",
    ),
    "a dict": (
        model("self.net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5))",
              "return self.net(batch['image'])", "batch"),
        "{'image': (N, 3, 8, 8)}",
    ),
    "video": (
        model("self.net = nn.Sequential(nn.Conv3d(3, 5, 3), nn.BatchNorm3d(5))",
              "return self.net(x)"),
        "(N, 3, 8, 4, 4)",
    ),
    "token ids": (
        model("self.emb = nn.Embedding(50, 8); self.bn = nn.BatchNorm1d(8)",
              "return self.bn(self.emb(ids).transpose(1, 2))", "ids"),
        "(N, 16) int",
    ),
    "a size that the flattened layer asks for": (
        model("self.conv = nn.Conv2d(3, 4, 3, padding=1); self.fc = nn.Linear(4 * 28 * 28, 2)",
              "return self.fc(self.conv(x).flatten(1))"),
        "(N, 3, 28, 28)",
    ),
    "a size that an assertion asks for": (
        model("self.conv = nn.Conv2d(3, 4, 3); self.bn = nn.BatchNorm2d(4)",
              "assert x.shape[-1] == 96, f'size {x.shape[-1]} must match 96'\n"
              "        return self.bn(self.conv(x))"),
        "(N, 3, 96, 96)",
    ),
    "channels that are concatenated": (
        model("self.conv = nn.Conv2d(12, 4, 3); self.bn = nn.BatchNorm2d(4)",
              "return self.bn(self.conv(torch.cat((x, skip), 1)))", "x, skip"),
        "(N, 6, 8, 8), (N, 6, 8, 8)",
    ),
    "time steps": (
        model("self.conv = nn.Conv2d(3, 4, 3); self.bn = nn.BatchNorm2d(4)\n"
              "        self.emb = nn.Embedding(1000, 4)",
              "return self.bn(self.conv(x)) + self.emb(t)[:, :, None, None]", "x, t"),
        "(N, 3, 8, 8), (N,) int",
    ),
    "floats for a layer of a time step, which meta lets integers into": (
        model("self.mlp = nn.Linear(6, 4)\n"
              "        self.conv = nn.Conv2d(3, 4, 3); self.bn = nn.BatchNorm2d(4)",
              "return self.bn(self.conv(x)) + self.mlp(t)[:, :, None, None]", "x, t"),
        "(N, 3, 8, 8), (N, 6)",
    ),
    "the second of two that look alike": (
        model("self.bn = nn.BatchNorm2d(6); self.gain = nn.Embedding(9, 6)",
              "return self.gain(y).view(-1, 6, 1, 1) * self.bn(x)", "x, y"),
        "(N, 6, 4, 4), (N,) int",
    ),
    "floats beside labels": (
        model("self.emb = nn.Embedding(5, 8); self.fc = nn.Linear(3, 8)\n"
              "        self.bn = nn.BatchNorm1d(8)",
              "return self.bn((self.fc(x) + self.emb(labels)).flatten(0, -2))", "x, labels"),
        "(N, 3), (N,) int",
    ),
    "labels that an embedding has rows for": (
        model("self.bn = nn.BatchNorm2d(6); self.emb = nn.Embedding(2, 6)",
              "return self.bn(x) + self.emb(labels)[:, :, None, None]", "x, labels"),
        "(N, 6, 4, 4), (N,) int",
    ),
    "a list of maps": (
        model("self.bn = nn.BatchNorm2d(6)",
              "return [self.bn(each) for each in features]", "features: list[torch.Tensor]"),
        "[(N, 6, 16, 16), (N, 6, 8, 8), (N, 6, 4, 4), (N, 6, 2, 2)]",
    ),
    "a dict of maps": (
        model("self.bn = nn.BatchNorm2d(6)",
              "return {k: self.bn(v) for k, v in x.items()}", "x: dict[str, torch.Tensor]"),
        "{'0': (N, 6, 16, 16), '1': (N, 6, 8, 8), '2': (N, 6, 4, 4), '3': (N, 6, 2, 2)}",
    ),
    "only what has no default": (
        model("self.bn = nn.BatchNorm2d(6)", "return self.bn(x)", "x, mask=None, *, scale=1.0"),
        "(N, 6, 4, 4)",
    ),
    "room for the statistics of a single sample": (
        model("self.net = nn.Sequential(nn.Conv2d(3, 4, 3, 64, 1), nn.BatchNorm2d(4))",
              "return self.net(x)"),
        "(N, 3, 128, 128)",
    ),
    "room after many halvings": (
        model("self.conv = nn.Conv2d(3, 8, 256, 256, 128); self.norm = nn.GroupNorm(8, 8)",
              "return self.norm(self.conv(x))"),
        "(N, 3, 256, 256)",
    ),
    "room for those of a GroupNorm, which does not ask for it": (
        model("self.net = nn.Sequential(nn.Conv2d(3, 4, 3, 64, 1), nn.GroupNorm(4, 4))",
              "return self.net(x)"),
        "(N, 3, 128, 128)",
    ),
    "no more than a norm needs, whatever one behind a pool has": (
        model("self.net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4),\n"
              "            nn.AdaptiveAvgPool2d(1), nn.GroupNorm(1, 4))",
              "return self.net(x)"),
        "(N, 3, 8, 8)",
    ),
    "a size below which it does not run": (
        model("self.conv = nn.Conv2d(3, 4, 3); self.bn = nn.BatchNorm2d(4)",
              "assert x.shape[-1] > 20, 'too small'\n        return self.bn(self.conv(x))"),
        "(N, 3, 32, 32)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_inputs(tmp_path: Path, case: str) -> None:
    source, text = CASES[case]
    prepared = Worker(tmp_path, source).prepared("Model")
    assert prepared.inputs.text == text
    args, kwargs = prepared.inputs.make("cpu", batch=2, stack=None, seed=0)
    prepared.constructed.rebuild(torch.device("cpu"))(*args, **kwargs)


def test_stacked_inputs_have_an_axis_in_front(tmp_path: Path) -> None:
    inputs = Worker(tmp_path, CASES["time steps"][0]).prepared("Model").inputs
    (x, t), kwargs = inputs.make("cpu", batch=5, stack=3, seed=1)
    assert (x.shape, t.shape, t.dtype) == ((3, 5, 3, 8, 8), (3, 5), torch.int64)
    assert not kwargs


def test_values_depend_on_the_seed_alone(tmp_path: Path) -> None:
    inputs = Worker(tmp_path, CASES["vector"][0]).prepared("Model").inputs
    first, again, other = (
        inputs.make("cpu", batch=2, stack=None, seed=seed)[0][0] for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert inputs.make("cpu", batch=2, seed=1, dtype=torch.float64)[0][0].dtype == torch.float64
    assert inputs.make("meta", batch=2, seed=1)[0][0].shape == first.shape


def test_an_example_may_be_an_expression(tmp_path: Path) -> None:
    example = Example("Model", "", ("torch.randint(0, 50, (6, 9))",))
    prepared = Worker(tmp_path, CASES["token ids"][0]).prepared("Model", examples=(example,))
    assert prepared.inputs.text == "(N, 9) int"


def test_what_asks_for_values_is_fed_on_the_cpu(tmp_path: Path) -> None:
    source = model(
        "self.bn = nn.BatchNorm2d(6)", "return self.bn(x) if x.sum().item() < 9e9 else x"
    )
    prepared = Worker(tmp_path, source).prepared("Model")
    assert prepared.constructed.module.bn.weight.device.type == "cpu"
    assert prepared.inputs.text == "(N, 6, 4, 4)"


def test_no_part_stands_for_a_model_that_cannot_be_fed(tmp_path: Path) -> None:
    source = """
class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))

    def forward(self, images, targets=None):
        if targets is None:
            raise ValueError("targets should be given")
        return targets["boxes"].nonzero()
"""
    outcome = Worker(tmp_path, source).outcome("Detector")
    assert isinstance(outcome, Refusal)
    assert outcome.reason.endswith("ValueError: targets should be given")


def test_what_cannot_be_fed_is_refused_with_the_first_error(tmp_path: Path) -> None:
    source = model("self.bn = lambda x: x", "raise LookupError('not like this')")
    outcome = Worker(tmp_path, source).outcome("Model")
    assert isinstance(outcome, Refusal)
    assert outcome.reason.endswith("LookupError: not like this")
    assert "def forward" not in outcome.reason
    assert "in forward" in outcome.trace


def test_what_cannot_be_fed_is_refused_with_the_error_of_the_longest_run(tmp_path: Path) -> None:
    source = model(
        "self.conv = nn.Conv2d(5, 6, 3, padding=1)",
        "assert x.shape[-1] < 16, 'size must be small'\n"
        "        self.conv(x)\n"
        "        raise LookupError('the boxes are missing')",
    )
    outcome = Worker(tmp_path, source).outcome("Model")
    assert isinstance(outcome, Refusal)
    assert outcome.reason.endswith("LookupError: the boxes are missing")


def test_a_module_without_forward(tmp_path: Path) -> None:
    source = "class Model(nn.Module):\n    pass\n"
    assert Worker(tmp_path, source).outcome("Model") == Refusal("Model has no forward")
