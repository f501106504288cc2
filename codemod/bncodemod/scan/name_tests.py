"""Where a file compares the class name of a module with that of a batch norm."""

from __future__ import annotations

import ast
import re

from bncodemod.source.tree import LazyTree

_METHODS = frozenset({"find", "index", "startswith", "endswith", "count", "rfind"})


def name_tests(tree: LazyTree) -> dict[ast.AST, str]:
    """The comparisons and searches of a file, with the name that they look for."""
    found = {}
    tree.search_text("BatchNorm")
    for constant in tree.of_type(ast.Constant):
        if isinstance(constant.value, str) and re.fullmatch(r"\w*BatchNorm\w*", constant.value):
            test = _test(tree, constant)
            if test is not None:
                found[test] = constant.value
    return found


def _test(tree: LazyTree, constant: ast.Constant) -> ast.AST | None:
    child: ast.AST = constant
    above = tree.parents.get(constant)
    while isinstance(above, (ast.Tuple, ast.List, ast.Set)):
        child, above = above, tree.parents.get(above)
    if isinstance(above, ast.Compare):
        return above
    if (
        isinstance(above, ast.Call)
        and isinstance(above.func, ast.Attribute)
        and above.func.attr in _METHODS
        and child in above.args
    ):
        return above
    return None
