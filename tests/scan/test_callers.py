"""What the calls of a file hand to the parameters of its functions."""

from __future__ import annotations

import ast

import pytest

from bncodemod.scan.callers import handed_to
from bncodemod.source.parse import parse
from bncodemod.source.text import SourceText
from bncodemod.source.tree import LazyTree

FUNCTION = "def run(model, x, *, y=0): ...\nrun(net, 1)\nrun(x=2, model=other)\n"
METHOD = "class Net:\n    def run(self, x): ...\n\nnet.run(1)\n"


@pytest.mark.parametrize(
    ("code", "name", "values"),
    [
        (FUNCTION, "model", {"net", "other"}),
        (FUNCTION, "x", {"1", "2"}),
        (FUNCTION, "y", {None}),
        (METHOD, "x", {"1"}),
        (METHOD, "self", {None}),
        ("run = lambda model: model\nrun(net)\n", "model", set()),
    ],
)
def test_each_call_hands_a_parameter_its_own_argument(
    code: str, name: str, values: set[str | None]
) -> None:
    source = SourceText.decode(code.encode())
    tree = LazyTree(source, parse(source))
    parameter = next(n for n in tree.occurrences(name) if isinstance(n, ast.arg))
    handed = handed_to(tree, parameter).values()
    assert {ast.unparse(value) if value else None for value in handed} == values
