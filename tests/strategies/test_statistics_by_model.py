"""Hazards of lost statistics are said of the models that lose them, not of the others of a file."""

from __future__ import annotations

from bncodemod.core import rewrite
from bncodemod.settings import Settings

SCRIPT = """\
import timm
import torch
import torch.nn as nn
from torch.func import vmap


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm2d(4)


class Probe(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm2d(4)


net = Net()
probe = Probe().eval()
teacher = timm.create_model("resnet18", pretrained=True)


def fine_tune(x):
    loss = vmap(net)(x).sum() + vmap(teacher)(x).sum()
    loss.backward()


for module in teacher.modules():
    if isinstance(module, nn.BatchNorm2d):
        module.eval()
        print(module.running_mean)
print(teacher.bn1.running_var, probe.bn.running_var, getattr(probe.bn, "running_mean"))
"""
OF_NET = """\
print(net.bn.running_mean)
"""


def hazards(source: str) -> list[tuple[str, int]]:
    result = rewrite(source.encode(), "script.py", Settings("auto"))
    assert not result.errors
    return [(f.code, f.line) for f in result.findings if f.code in ("BN301", "BN304")]


def test_models_that_keep_their_statistics_are_left_out() -> None:
    assert hazards(SCRIPT) == []


def test_models_that_lose_them_are_reported() -> None:
    end = SCRIPT.count("\n")
    assert hazards(SCRIPT + OF_NET) == [("BN301", end + 1)]


def test_loads_into_models_of_a_library_that_keep_them_are_no_hazard() -> None:
    loads = "for m in [timm.create_model('resnet18')]:\n    m.load_state_dict(torch.load('r.pt'))\n"
    source = SCRIPT + loads
    for _ in range(2):
        result = rewrite(source.encode(), "script.py", Settings("auto"))
        assert not result.errors
        assert not any(f.code == "BN310" for f in result.findings)
        source = (result.after or source.encode()).decode()
    assert "freeze_batch_norm_statistics(timm.create_model('resnet18'))" in source
