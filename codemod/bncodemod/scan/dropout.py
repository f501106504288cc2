"""Where a file deals with the dropout of a model alone."""

from __future__ import annotations

import ast
import re

from bncodemod.scan.names import Names

_CLASS = re.compile(r"^_?\w*Drop(?:out|Path)\w*$")
_TESTS = frozenset({"endswith", "startswith"})


def is_of_dropout(names: Names, use: ast.Attribute) -> bool:
    """Whether an attribute is that of a module which a test around it has found to be dropout.

    The test is ``isinstance(m, nn.Dropout)`` or one of the class's name, and alone or the first of
    what has to hold together.
    """
    subject = ast.unparse(use.value)
    child: ast.AST = use
    for above in names.tree.ancestors(use):
        if isinstance(above, ast.If) and child in above.body:
            test = above.test
            tests = test.values if isinstance(test, ast.BoolOp) else [test]
            if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.Or):
                if all(_finds_dropout(names, each, subject) for each in tests):
                    return True
            elif any(_finds_dropout(names, each, subject) for each in tests):
                return True
        child = above
    return False


def _finds_dropout(names: Names, test: ast.expr, subject: str) -> bool:
    if isinstance(test, ast.Call) and isinstance(test.func, ast.Attribute):
        return (
            test.func.attr in _TESTS
            and _is_name_of(test.func.value, subject)
            and [_is_text(value) for value in test.args] == [True]
        )
    if isinstance(test, ast.Call) and names.qualified(test.func) == "builtins.isinstance":
        classes = test.args[1] if len(test.args) == 2 else None
        given = classes.elts if isinstance(classes, ast.Tuple) else [classes]
        named = [value for value in given if isinstance(value, (ast.Name, ast.Attribute))]
        return (
            bool(named)
            and len(named) == len(given)
            and ast.unparse(test.args[0]) == subject
            and all(_CLASS.search(ast.unparse(value).rpartition(".")[2]) for value in named)
        )
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        left, right = test.left, test.comparators[0]
        if isinstance(test.ops[0], ast.In):
            return _is_text(left) and _is_name_of(right, subject)
        if isinstance(test.ops[0], ast.Eq):
            return _is_text(right) and _is_name_of(left, subject)
    return False


def _is_text(node: ast.expr) -> bool:
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return is_text and bool(_CLASS.search(node.value))  # type: ignore[attr-defined]


def _is_name_of(node: ast.expr, subject: str) -> bool:
    """Whether an expression is the name of an object's class."""
    return ast.unparse(node) in (f"{subject}.__class__.__name__", f"type({subject}).__name__")
