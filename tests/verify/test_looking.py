"""Objects that answer to anything, or to nothing, cost no module and no candidate."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from examined import examined

from bncodemod.verify.model import SiteKind, Verdict

ODD = {
    "itself for every name": """
        class Odd:
            def __getattr__(self, name):
                return self

            def __call__(self, *args, **kwargs):
                return self
    """,
    "another one for every name": """
        class Odd:
            def __getattr__(self, name):
                return Odd()
    """,
    "an error for every name": """
        class Odd:
            def __getattribute__(self, name):
                raise RuntimeError("not now")
    """,
    "an error for its class": """
        class Odd:
            @property
            def __class__(self):
                raise RuntimeError("not now")
    """,
    "a class that it is not of": """
        class Odd:
            __class__ = nn.Module
            __hash__ = None

            @property
            def __module__(self):
                return self
    """,
    "a mock": """
        from unittest.mock import MagicMock as Odd
    """,
}
# torch itself asks for the class of what a model holds: it is a global, a local and a module.
USED = """
import sys

odd = Odd()
sys.modules[f"{__name__}_odd"] = odd
holding = [odd]


def tracked():
    return odd.make(nn.ReLU)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        here = odd
        self.bn = ⟪nn.BatchNorm1d(4, track_running_stats=False)⟫

    def forward(self, x):
        return self.bn(x)
"""


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_odd_object_costs_nothing(odd: str, tmp_path: Path) -> None:
    said = examined(tmp_path, textwrap.dedent(odd) + USED)
    assert [v for _, v in said.verdicts(SiteKind.CALL)] == [Verdict.VERIFIED]
    assert said.of("Net").error == ""
