"""Where randomness is wanted under a transform: dropout draws there, in train mode only."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

from bncodemod.scan.called_modules import Called
from bncodemod.scan.libraries import argument
from bncodemod.scan.scopes import Function
from bncodemod.scan.transforms import Transformed
from bncodemod.source.tree import LazyTree

_DRAWS = re.compile(r"dropout|monte_?carlo", re.IGNORECASE)
_PLACE_IN_VMAP = 3


def sign_of_randomness(
    tree: LazyTree, statement: ast.stmt, transformed: Transformed, called: Called
) -> str:
    """What says that a transformed function is to draw random numbers; empty if nothing does."""
    for call in _calls(tree, transformed, called.functions):
        given = argument(call, "randomness", _PLACE_IN_VMAP if call in transformed.calls else None)
        if given is not None and not (isinstance(given, ast.Constant) and given.value == "error"):
            return f"randomness={ast.unparse(given)}"
        if call in transformed.calls and any(k.arg is None for k in call.keywords):
            return f"**{ast.unparse(next(k.value for k in call.keywords if k.arg is None))}"
    for above in tree.ancestors(statement):
        if isinstance(above, Function) and _DRAWS.search(above.name):
            return f"{above.name} is for random draws by its name"
    return ""


def _calls(
    tree: LazyTree, transformed: Transformed, functions: Iterable[ast.AST]
) -> Iterator[ast.Call]:
    yield from transformed.calls
    for function in functions:
        yield from (node for node in tree.walk_below(function) if isinstance(node, ast.Call))
