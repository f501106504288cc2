"""The class of a module is compared by its name: ``"BatchNorm" in type(m).__name__``.

A GroupNorm does not have that name, so the branch is no longer taken.

Before:
    if m.__class__.__name__.find("BatchNorm") != -1:
        nn.init.normal_(m.weight, 1.0, 0.02)

Open under group-norm; under no-running-stats the name stays the same.

By hand: ask for ``"Norm"``, or use isinstance with ``nn.GroupNorm`` among the classes.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import partial

from bncodemod.rules.rule import Match, Rule
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Open

rule = Rule("BN306", "class name as a string")

_METHODS = frozenset({"find", "index", "startswith", "endswith", "count", "rfind"})


@rule.finds
def class_names(context: Context) -> Iterator[Match]:
    """Comparisons and searches with a string that names a batch norm."""
    if not context.keeps_batch_norm:
        for test, name in name_tests(context).items():
            yield Match(test, partial(_open, name))


def name_tests(context: Context) -> dict[ast.AST, str]:
    """The comparisons and searches of a file, with the name that they look for."""
    found = {}
    context.tree.search_text("BatchNorm")
    for constant in context.tree.of_type(ast.Constant):
        if isinstance(constant.value, str) and re.fullmatch(r"\w*BatchNorm\w*", constant.value):
            test = _test(context, constant)
            if test is not None:
                found[test] = constant.value
    return found


def _test(context: Context, constant: ast.Constant) -> ast.AST | None:
    child: ast.AST = constant
    above = context.tree.parents.get(constant)
    while isinstance(above, (ast.Tuple, ast.List, ast.Set)):
        child, above = above, context.tree.parents.get(above)
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


def _open(name: str) -> Open:
    return Open(
        f'a GroupNorm does not have "{name}" in its class name: this test no longer holds for it',
        "test for GroupNorm as well if the branch is right for it",
    )
