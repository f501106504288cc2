"""Norms that the code freezes in eval mode work under vmap: auto leaves them their statistics."""

from __future__ import annotations

import pytest

from bncodemod.core import rewrite
from bncodemod.settings import Settings

NET = """\
import torch
import torch.nn as nn
import torchvision
from torch.func import functional_call, grad, jacrev, vmap


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm2d(8)

    def forward(self, x):
        return self.bn(x)


"""
LOOP = """\
net = Net()
net.train()
for m in net.modules():
    if isinstance(m, nn.BatchNorm2d):
        m.eval()
"""
USE = "print(vmap(net)(torch.randn(2, 1, 8, 4, 4)))\n"
APPLIED = """\
def freeze(m):
    if isinstance(m, nn.modules.batchnorm._BatchNorm):
        m.eval()


net = Net()
net.train()
net.apply(freeze)
"""
OWN_TRAIN = """\
class Frozen(Net):
    def train(self, mode=True):
        super().train(mode)
        self.bn.{call}
        return self


net = Frozen()
net.train()
"""
LOOP_IN_TRAIN = """\
class Frozen(Net):
    def train(self, mode=True):
        super().train(mode)
        for m in self.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.eval()
        return self


net = Frozen()
net.train()
"""


def found(source: str, strategy: str = "auto") -> list[tuple[str, str]]:
    result = rewrite(source.encode(), "script.py", Settings(strategy))
    assert not result.errors
    return [(f.code, f.status.value) for f in result.findings]


def is_kept(source: str) -> bool:
    """Whether the model keeps its statistics by a patch, now and after a second run."""
    result = rewrite(source.encode(), "script.py", Settings("auto"))
    assert result.after is not None
    assert found(result.after.decode()) == [("BN101", "safe")]
    (finding,) = result.findings
    is_patched = b"\nfreeze_batch_norm_statistics(net)\n" in result.after
    return is_patched and "freezes norms" in finding.message


def test_norms_frozen_behind_the_last_train_are_safe() -> None:
    assert found(NET + LOOP + USE) == [("BN101", "safe")]


@pytest.mark.parametrize("undoing", ["net.train()\n", "net.bn.training = True\n"])
def test_norms_that_may_be_trained_behind_it_keep_their_statistics(undoing: str) -> None:
    assert is_kept(NET + LOOP + undoing + USE)


MAYBE_FROZEN = pytest.mark.parametrize(
    "script",
    [
        APPLIED,
        OWN_TRAIN.format(call="eval()"),
        OWN_TRAIN.format(call="train(False)"),
        LOOP_IN_TRAIN,
    ],
    ids=["applied", "own train", "own train, by train", "loop in own train"],
)


@MAYBE_FROZEN
def test_norms_that_may_be_frozen_keep_their_statistics(script: str) -> None:
    assert is_kept(NET + script + USE)


@MAYBE_FROZEN
def test_norms_that_may_be_frozen_are_left_where_not_all_models_are_seen(script: str) -> None:
    source = NET + script + "TABLE = {'net': Net}\n" + USE
    result = rewrite(source.encode(), "script.py", Settings("auto"))
    assert result.after is None
    assert [(f.code, f.status.value) for f in result.findings] == [("BN101", "open")]
    assert "freezes norms in eval mode" in result.findings[0].message


def test_another_model_that_is_frozen_holds_nothing_up() -> None:
    script = "net = Net()\nnet.train()\n" + LOOP.replace("net", "other").replace("Net", "Other")
    other = NET.partition("class Net")[2].replace("(nn", "class Other(nn", 1)
    statuses = found(NET + other + script + USE)
    assert statuses == [("BN101", "rewritten"), ("BN101", "safe")]


def test_models_of_a_library_that_may_be_frozen_keep_their_statistics() -> None:
    script = LOOP.replace("Net()", "torchvision.models.resnet18(weights=None)")
    undone = script + "net.train()\n" + USE
    result = rewrite(("import torch\n" + NET + undone).encode(), "script.py", Settings("auto"))
    assert result.after is not None
    assert "freeze_batch_norm_statistics(net)" in result.after.decode()


@pytest.mark.parametrize("strategy", ["no-running-stats", "group-norm"])
@pytest.mark.parametrize("call", ["eval()", "train(False)"])
def test_a_norm_frozen_by_its_name_is_reported(strategy: str, call: str) -> None:
    statuses = found(NET + OWN_TRAIN.format(call=call) + USE, strategy)
    assert statuses == [("BN101", "rewritten"), ("BN304", "open")]


def test_what_is_no_norm_freezes_nothing() -> None:
    script = OWN_TRAIN.format(call="eval()").replace("self.bn.", "self.head.")
    assert found(NET + script + USE) == [("BN101", "rewritten")]
