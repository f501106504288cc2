"""Whether a variable surely holds a model where a statement is passed: a patch of None fails."""

from __future__ import annotations

import ast

from bncodemod.scan.model_places import CHAIN, METHODS, Place
from bncodemod.source.tree import LazyTree

_SIMPLE = (ast.Expr, ast.Assign, ast.AnnAssign, ast.AugAssign)
_LEAVES = (ast.Return, ast.Raise, ast.Continue, ast.Break)
_CONDITIONAL = (ast.IfExp, ast.BoolOp, ast.Lambda, ast.GeneratorExp, ast.ListComp)


def is_surely_bound(tree: LazyTree, place: Place, last: ast.stmt) -> bool:
    """Whether the target of a place holds a model on every way past ``last``.

    ``last`` stands behind the statement of the place, in a block that holds it, however deep.
    """
    block = tree.parents[last]
    child: ast.AST = place.statement
    for above in tree.ancestors(child):
        if above is block:
            return True
        if not all(_binds(b, place.target) for b in _branches_beside(above, child)):
            break
        child = above
    while tree.parents.get(child) is not block:
        child = tree.parents[child]
    return _is_used(tree, block, child, place.target)


def _branches_beside(above: ast.AST, child: ast.AST) -> list[list[ast.stmt]]:
    """The branches that are taken in the place of the one that holds a child."""
    if isinstance(above, (ast.With, ast.AsyncWith)):
        return []
    if isinstance(above, ast.If):
        return [above.orelse if child in above.body else above.body]
    if isinstance(above, ast.Try):
        handlers = [handler.body for handler in above.handlers if handler is not child]
        return handlers if child in above.body else [above.body, *handlers]
    if isinstance(above, ast.ExceptHandler):
        return []
    return [[]]


def _binds(branch: list[ast.stmt], target: str) -> bool:
    """Whether a branch gives the target a value that may be a model, or is left."""
    if branch and isinstance(branch[-1], _LEAVES):
        return True
    return any(
        (_sets(statement, target) and not isinstance(_value(statement), ast.Constant))
        or (
            isinstance(statement, ast.If)
            and _binds(statement.body, target)
            and _binds(statement.orelse, target)
        )
        or (isinstance(statement, (ast.With, ast.AsyncWith)) and _binds(statement.body, target))
        for statement in branch
    )


def _is_used(tree: LazyTree, block: ast.AST, child: ast.AST, target: str) -> bool:
    """Whether the statements behind one of a block use the target as a module, come what may."""
    statements = next(
        part
        for part in (getattr(block, name, []) for name in ("body", "orelse", "finalbody"))
        if isinstance(part, list) and child in part
    )
    for statement in statements[statements.index(child) + 1 :]:
        if isinstance(statement, _SIMPLE):
            tree.expand(statement)
            if any(_is_use(tree, node, statement, target) for node in ast.walk(statement)):
                return True
        if _sets(statement, target) or any(isinstance(n, _LEAVES) for n in ast.walk(statement)):
            return False
    return False


def _is_use(tree: LazyTree, node: ast.AST, statement: ast.stmt, target: str) -> bool:
    if not isinstance(node, ast.Attribute) or node.attr not in CHAIN | METHODS:
        return False
    if ast.unparse(node.value) != target:
        return False
    for above in tree.ancestors(node):
        if above is statement:
            return True
        if isinstance(above, _CONDITIONAL):
            return False
    return False


def _sets(statement: ast.stmt, target: str) -> bool:
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    if isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    return any(ast.unparse(part) == target for part in targets)


def _value(statement: ast.stmt) -> ast.expr | None:
    return getattr(statement, "value", None)
