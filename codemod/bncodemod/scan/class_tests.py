"""Where a file asks whether a module is a batch norm, and what it then does with it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from bncodemod.scan.mentions import Mention, Role, surrounding_test
from bncodemod.scan.names import Names


@dataclass(frozen=True, slots=True, eq=False)
class ClassTest:
    """One test against norm classes.

    ``node`` is the ``isinstance`` call, comparison, dict or pattern; ``classes`` the expression
    that it compares with, for ``isinstance``; ``uses`` are the attributes of the tested object in
    the branch that a true test leads to, None where that branch cannot be told.
    """

    node: ast.AST
    mentions: tuple[Mention, ...]
    classes: ast.expr | None
    uses: tuple[ast.Attribute, ...] | None


def class_tests(names: Names, mentions: list[Mention]) -> Iterator[ClassTest]:
    """The tests of a file, each once however many classes it names."""
    by_test: dict[ast.AST, list[Mention]] = {}
    for mention in mentions:
        if mention.role is Role.TEST and mention.norm.family == "batch":
            test = surrounding_test(names, mention.node)
            if test is not None:
                by_test.setdefault(test, []).append(mention)
    for test, found in by_test.items():
        is_call = isinstance(test, ast.Call)
        classes = test.args[1] if isinstance(test, ast.Call) else None
        subject = _subject(test)
        uses = _uses_in_branch(names, test, subject) if subject else None
        yield ClassTest(test, tuple(found), classes if is_call else None, uses)


def isinstance_uses(names: Names, call: ast.AST) -> tuple[ast.Attribute, ...] | None:
    """The attributes of the tested object in the branch that an ``isinstance`` call leads to."""
    subject = _subject(call)
    return _uses_in_branch(names, call, subject) if subject else None


def is_negative(test: ast.AST) -> bool:
    """Whether a comparison holds for what is no batch norm: ``== -1``, ``not in``, ``!= name``."""
    if not isinstance(test, ast.Compare):
        return False
    operator, right = test.ops[0], test.comparators[0]
    to_number = isinstance(right, (ast.UnaryOp, ast.Constant)) and "BatchNorm" not in ast.unparse(
        right
    )
    negative = (ast.Eq, ast.Is, ast.Lt) if to_number else (ast.NotEq, ast.NotIn, ast.IsNot)
    return isinstance(operator, negative)


def _subject(test: ast.AST) -> str:
    """The tested object as source: ``m`` in ``isinstance(m, …)`` and ``type(m) is …``."""
    if isinstance(test, ast.Call) and test.args:
        return ast.unparse(test.args[0])
    if isinstance(test, ast.Compare):
        left = test.left
        if isinstance(left, ast.Call) and isinstance(left.func, ast.Name) and left.args:
            return ast.unparse(left.args[0])
        if isinstance(left, ast.Attribute) and left.attr == "__class__":
            return ast.unparse(left.value)
    return ""


def _uses_in_branch(names: Names, test: ast.AST, subject: str) -> tuple[ast.Attribute, ...] | None:
    child: ast.AST = test
    for above in names.tree.ancestors(test):
        if isinstance(above, ast.If) and child is above.test:
            break
        if isinstance(above, ast.Assert) and child is above.test:
            return ()  # it only has to hold
        if not isinstance(above, ast.BoolOp):
            return None
        child = above
    else:
        return None
    nodes = list(names.tree.walk_block(above))
    subjects = [n for n in nodes if isinstance(n, ast.expr) and ast.unparse(n) == subject]
    found = [n for n in nodes if isinstance(n, ast.Attribute) and ast.unparse(n.value) == subject]
    # A use of the whole object, as an argument say, may do anything with it.
    return tuple(found) if len(subjects) == len(found) else None
