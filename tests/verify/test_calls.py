"""Calls with literal arguments, and what is fed to what they build."""

from __future__ import annotations

import pytest

from bncodemod.verify.calls import definitions, literal_calls
from bncodemod.verify.model import Example


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("net = Net(3, width=(16, -1))\n", [Example("Net", "3, width=(16, -1)")]),
        ("nets.Net('a', **options)\nnets.Net(*sizes)\nNet(width)\n", []),
        ("Net(1)\nNet(1)\nNet(2)\n", [Example("Net", "1"), Example("Net", "2")]),
        (
            "def test():\n    net = Net().cuda()\n    y = net(torch.randn(1, 3, 32, 32).cuda())\n",
            [Example("Net", "", ((1, 3, 32, 32),))],
        ),
        (
            "x = torch.zeros((2, 8))\nself.net = Net(8)\nself.net(x, torch.ones([2, 4]))\n",
            [Example("Net", "8", ((2, 8), (2, 4)))],
        ),
        ("net = Net(8)\nnet(x)\nnet(torch.randn(n, 3))\n", [Example("Net", "8")]),
        # The net of one function is not fed by another.
        (
            "def a():\n    net = Net(8)\ndef b(net):\n    net(torch.ones(2, 3))\n",
            [Example("Net", "8")],
        ),
        # Parameters stand for their defaults, unless they are changed.
        (
            "def net(wide=False, *, depth, **kwargs):\n    return Net(18, wide=wide, **kwargs)\n"
            "def deep(wide=False, *, depth, **more):\n    return Other(depth, wide=wide, **more)\n"
            "def changed(wide=False):\n    wide = find()\n    return Net(wide)\n",
            [Example("Net", "18, wide=False")],
        ),
        # So do constants of the file, unless a function has its own.
        (
            "WIDTH = 8\nMODE = 1\nMODE = 2\nNet(WIDTH)\nNet(MODE)\n"
            "def a(wide=WIDTH):\n    return Other(wide, wide=WIDTH)\n"
            "def b(WIDTH):\n    return Other(WIDTH)\n",
            [Example("Net", "8"), Example("Other", "8, wide=8")],
        ),
        ("class Net(: pass\nNet(3)\n", []),
        # Examples in docstrings, and methods that are called on a class.
        (
            'class Some:\n    """Some.\n\n    >>> net = Net(5)\n    >>> net(torch.rand(1, 5))\n'
            '    tensor(...)\n    """\n',
            [Example("Net", "5", ((1, 5),))],
        ),
        ('"""\n>>> Net(\n...     5)\n>>> print Net\n"""\n', []),
        ("net = nets.Net.small(5).cuda()\nOther.small(6)\n", [Example("Net.small", "5")]),
    ],
)
def test_literal_calls(text: str, expected: list[Example]) -> None:
    assert literal_calls(text.encode(), {"Net", "Other", "Net.small"}) == expected


def test_definitions() -> None:
    text = b"class A:\n    class B: pass\n    def m(self): pass\ndef f(): pass\nx = 1\n"
    assert definitions(text) == {"A", "f"}
    methods = b"class A:\n @classmethod\n def f(cls): pass\n @staticmethod\n def g(): pass\n"
    assert definitions(methods) == {"A", "A.f", "A.g"}
    assert definitions(b"class (\n") == set()
