"""Arguments that are deduced from how they are used, and what is said where none are found."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from candidates import Worker

from bncodemod.verify.model import Built, Example
from bncodemod.verify.refusal import Refusal

DEDUCED = {
    "channels, heads and a pair": """
class Block(nn.Module):
    def __init__(self, dim, num_heads, window_size: tuple[int, int], drop_path, norm_layer):
        super().__init__()
        assert dim % num_heads == 0 and len(window_size) == 2
        self.norm = norm_layer(dim)
        self.drop = nn.Dropout(drop_path)

    def forward(self, x):
        return self.drop(self.norm(x))
""",
    "a list of channels, and its length": """
class Block(nn.Module):
    def __init__(self, widths, repeats):
        super().__init__()
        if len(repeats) != 3:
            raise ValueError("wrong number of repeats")
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)

    def forward(self, x):
        return [bn(x) for bn in self.bns]
""",
    "a name among those that the source knows": """
class Block(nn.Module):
    def __init__(self, padding_kind, ch):
        super().__init__()
        if padding_kind == "reflect":
            self.pad = nn.ReflectionPad2d(1)
        else:
            raise NotImplementedError(padding_kind)
        self.bn = nn.BatchNorm2d(ch)

    def forward(self, x):
        return self.bn(self.pad(x))
""",
    "a key of a table": """
TABLE = {"small": 8, "large": 16}

class Block(nn.Module):
    def __init__(self, which):
        super().__init__()
        self.bn = nn.BatchNorm2d(TABLE[which])

    def forward(self, x):
        return self.bn(x)
""",
    "a configuration": """
class Block(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.bn = nn.BatchNorm2d(cfg.in_channels)
        self.fc = nn.Linear(cfg["hidden_dim"], cfg.num_classes)

    def forward(self, x):
        return self.fc(self.bn(x).mean((2, 3)))
""",
    "a class of the project by its annotation": """
import dataclasses

@dataclasses.dataclass
class Options:
    channels: int
    kernel_size: int = 3

class Block(nn.Module):
    def __init__(self, options: list[Options]):
        super().__init__()
        self.bn = nn.Sequential(*(nn.BatchNorm2d(each.channels) for each in options))

    def forward(self, x):
        return self.bn(x)
""",
    "the arguments of a base class": """
class Base(nn.Module):
    def __init__(self, in_channels, kernel_size):
        super().__init__()
        self.bn = nn.BatchNorm2d(in_channels)
        self.pool = nn.AvgPool2d(kernel_size)

    def forward(self, x):
        return self.pool(self.bn(x))

class Block(Base):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
""",
    "a base class that is given some of its arguments": """
class Base(nn.Module):
    def __init__(self, num_features, pool: nn.Module):
        super().__init__()
        self.bn = nn.BatchNorm2d(num_features)
        self.pool = pool

    def forward(self, x):
        return self.pool(self.bn(x))

class Block(Base):
    def __init__(self, ch, **kwargs):
        super().__init__(ch, **kwargs)
""",
    "a configuration that is a dict": """
class Block(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        self.conv = nn.Conv2d(config["in_ch"], config["dim"], config.get("kernel", 3))
        self.bn = nn.BatchNorm2d(config["dim"])

    def forward(self, x):
        return self.bn(self.conv(x))
""",
    "namespaces": """
import argparse, types

class Block(nn.Module):
    def __init__(self, args: argparse.Namespace, others: types.SimpleNamespace):
        super().__init__()
        self.conv = nn.Conv2d(args.in_channels, others.width, 3)
        self.bn = nn.BatchNorm2d(others.width)

    def forward(self, x):
        return self.bn(self.conv(x))
""",
    "a number that fits the shapes": """
class Block(nn.Module):
    def __init__(self, inplanes, planes):
        super().__init__()
        self.conv = nn.Conv2d(inplanes, 4 * planes, 1)
        self.bn = nn.BatchNorm2d(4 * planes)

    def forward(self, x):
        return x + self.bn(self.conv(x))
""",
}


@pytest.mark.parametrize("case", DEDUCED)
def test_deduction_and_repair(tmp_path: Path, case: str) -> None:
    prepared = Worker(tmp_path, DEDUCED[case]).prepared("Block")
    assert prepared.constructed.how is Built.DEDUCED
    args, kwargs = prepared.inputs.make("cpu", batch=2, stack=None, seed=0)
    prepared.constructed.rebuild(torch.device("cpu"))(*args, **kwargs)


REFUSED = {
    "fed": ("", "self.conv(x)\n        raise LookupError('no boxes')"),
    "built": ("raise LookupError('no boxes')", "return x"),
}


@pytest.mark.parametrize("step", REFUSED)
def test_a_refusal_tells_of_the_attempt_that_got_furthest(tmp_path: Path, step: str) -> None:
    construct, forward = REFUSED[step]
    source = f"""
class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        {construct}

    def forward(self, x):
        {forward}
"""
    call = Example("Net", "unknown.width")
    outcome = Worker(tmp_path, source).outcome("Net", calls=(call,))
    assert isinstance(outcome, Refusal)
    assert outcome.reason.endswith("LookupError: no boxes")
