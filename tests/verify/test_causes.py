"""Errors of models under vmap: what they are called, and the user's line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from examined import examined, image

from bncodemod.verify.causes import explain, is_users
from bncodemod.verify.model import Cause, Check, Outcome

NET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn = ⟪nn.GroupNorm(1, 3)⟫
        self.lstm = nn.LSTM(6, 6)

    def forward(self, x):
        x = self.bn(x)
        {statement}  # here
        return x
"""

CASES = {
    "item": ("x = x * x.sum().item()", Cause.ITEM),
    "float": ("x = x * float(x.sum())", Cause.ITEM),
    "tolist": ("x = x * x.sum().tolist()", Cause.ITEM),
    "numpy": ("x = x + torch.tensor(x.detach().numpy())", Cause.ITEM),
    "if": ("x = x if x.sum() > 0 else -x", Cause.CONTROL_FLOW),
    "mask": ("x = x + x[x > 0].mean()", Cause.DYNAMIC_SHAPE),
    "nonzero": ("x = x + x.nonzero().sum()", Cause.DYNAMIC_SHAPE),
    "unique": ("x = x + torch.unique(x).sum()", Cause.DYNAMIC_SHAPE),
    "in place": ("y = torch.zeros(x.shape); y.copy_(x); x = y", Cause.IN_PLACE),
    "by index": ("y = torch.zeros(x.shape); y[:, 0] = x[:, 0]; x = y", Cause.IN_PLACE),
    "augmented": ("y = torch.zeros(x.shape); y += x; x = y", Cause.IN_PLACE),
    "RReLU": ("x = F.rrelu(x, training=True)", Cause.NO_RULE),
    "LSTM": ("x = self.lstm(x[:, 0])[0]", Cause.RNN),
    "data": ("x = x * x.data.sum()", Cause.NO_RULE),
    "into channels_last": ("x = x.to(memory_format=torch.channels_last)", Cause.CHANNELS_LAST),
    "channels_last": (
        "x = F.group_norm(x.contiguous(memory_format=torch.channels_last), 1)",
        Cause.CHANNELS_LAST,
    ),
}


@pytest.mark.parametrize(("statement", "cause"), CASES.values(), ids=CASES)
def test_cause(statement: str, cause: Cause, tmp_path: Path) -> None:
    checks = frozenset({Check.META_VMAP, Check.VMAP})
    said = examined(tmp_path, NET.format(statement=statement), checks=checks, **image())
    result = said.result(Check.VMAP)
    assert (result.outcome, result.cause) == (Outcome.FAILED, cause), result.trace
    lines = Path(said.job.path).read_text().splitlines()
    assert result.path == said.job.path
    assert "# here" in lines[result.line - 1]
    assert result.remedy
    assert "Traceback" in result.trace


@pytest.mark.parametrize(
    "body",
    [
        "def forward(ctx, x): return x * 2",
        "def forward(x): return x * 2\n    @staticmethod\n"
        "    def setup_context(ctx, inputs, output): pass",
    ],
    ids=["of the older form", "without a rule for vmap"],
)
def test_an_autograd_function(tmp_path: Path, body: str) -> None:
    double = f"\nclass Double(torch.autograd.Function):\n    @staticmethod\n    {body}\n"
    source = double + NET.format(statement="x = Double.apply(x)")
    said = examined(tmp_path, source, checks=frozenset({Check.VMAP}), **image())
    assert said.result(Check.VMAP).cause is Cause.FUNCTION


def test_a_tensor_that_a_hook_keeps(tmp_path: Path) -> None:
    text = """
    KEPT = []

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = ⟪nn.GroupNorm(1, 3)⟫
            self.bn.register_forward_hook(lambda module, given, answer: KEPT.append(answer))

        def forward(self, x):
            x = self.bn(x)
            return x + torch.stack([each.mean() for each in KEPT]).mean()  # here
    """
    said = examined(tmp_path, text, **image())
    result = said.failed()[0]
    assert result.cause is Cause.LEAK
    assert "# here" in Path(result.path).read_text().splitlines()[result.line - 1]


def test_checkpointing(tmp_path: Path) -> None:
    text = """
    from torch.utils.checkpoint import checkpoint

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = ⟪nn.GroupNorm(1, 3)⟫

        def forward(self, x):
            return checkpoint(self.bn, x, use_reentrant=False)
    """
    said = examined(tmp_path, text, **image())
    assert [(each.check, each.cause) for each in said.failed()] == [(Check.GRAD, Cause.CHECKPOINT)]


def test_a_counter_that_grad_may_not_write_to(tmp_path: Path) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = ⟪nn.GroupNorm(1, 3)⟫
            self.register_buffer("steps", torch.zeros(()))

        def forward(self, x):
            self.steps += 1
            return self.bn(x)
    """
    (failed,) = examined(tmp_path, text, **image()).failed()
    assert (failed.check, failed.cause) == (Check.GRAD, Cause.IN_PLACE)
    assert "self.steps = self.steps + 1" in failed.remedy


def test_memory() -> None:
    found = explain(MemoryError(), ())
    assert (found.cause, found.message) == (Cause.MEMORY, "MemoryError")


def test_an_unknown_error_keeps_its_words() -> None:
    found = explain(ZeroDivisionError("division by zero"), ())
    assert (found.cause, found.path, found.line) == (Cause.OTHER, "", 0)
    assert found.message == "ZeroDivisionError: division by zero"


def test_whose_code_it_is(tmp_path: Path) -> None:
    root = str(tmp_path)
    assert is_users(f"{root}/pkg/model.py", [root])
    assert not is_users("/elsewhere/model.py", [root])
    assert not is_users(f"{root}/.venv/lib/python3.11/site-packages/einops/a.py", [root])
    assert not is_users(torch.__file__, ["/"])
    # An installed package may be what is verified.
    assert is_users("/usr/site-packages/torchvision/a.py", ["/usr/site-packages"])
