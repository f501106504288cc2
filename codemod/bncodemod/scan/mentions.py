"""Where a file names a norm class, and in which role."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from bncodemod.catalog.torch import NORM_CLASSES, NormClass
from bncodemod.scan.names import Names
from bncodemod.scan.scopes import Function

_TYPE_CALLS = (
    "typing.NewType",
    "typing.TypeVar",
    "typing.cast",
    "typing_extensions.TypeVar",
)


class Role(Enum):
    """What a mention of a class does."""

    CALL = "is called"
    PARTIAL = "is wrapped in functools.partial"
    BASE = "is a base class"
    TEST = "is compared with"
    TYPE = "is a type"
    ATTRIBUTE = "has an attribute read"
    VALUE = "is a value"


@dataclass(frozen=True, slots=True, eq=False)
class Mention:
    """An expression that is a norm class by way of imports alone, not of a variable."""

    node: ast.expr
    norm: NormClass
    role: Role


def mentions(names: Names) -> list[Mention]:
    """The mentions of a file, in the order of the source."""
    tree = names.tree
    for part in ("BatchNorm", "InstanceNorm", "_NormBase", *_last_names(names)):
        tree.search_text(part)
    wanted = {*NORM_CLASSES, *_last_names(names)}
    for alias in tree.of_type(ast.alias):
        wanted.update(_local_names(alias, tree.parents.get(alias), names))
    found = []
    for name in wanted:
        for node in tree.occurrences(name):
            if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load):
                norm = names.norm(node)
                if norm is not None:
                    found.append(Mention(node, norm, role(names, node)))
    return sorted(found, key=lambda m: (m.node.lineno, m.node.col_offset))


def role(names: Names, node: ast.expr) -> Role:
    """What an expression that is a class does where it stands."""
    above = names.tree.parent(node)
    if isinstance(above, ast.Call):
        if node is above.func:
            return Role.CALL
        if above.args[:1] == [node] and names.qualified(above.func) == "functools.partial":
            return Role.PARTIAL
    if isinstance(above, ast.ClassDef) and node in above.bases:
        return Role.BASE
    if isinstance(above, ast.Attribute):
        return Role.ATTRIBUTE
    if isinstance(above, ast.ExceptHandler):
        return Role.TYPE
    return _surrounding_role(names, node)


def surrounding_test(names: Names, node: ast.AST) -> ast.AST | None:
    """The ``isinstance`` call, comparison or dict that tests against a class, if one does."""
    child: ast.AST = node
    for above in names.tree.ancestors(node):
        if isinstance(above, ast.Call):
            is_test = names.qualified(above.func) in ("builtins.isinstance", "builtins.issubclass")
            return above if is_test and child in above.args[1:] else None
        if isinstance(above, ast.Compare) or (isinstance(above, ast.Dict) and child in above.keys):
            return above
        if isinstance(above, (ast.MatchClass, ast.MatchValue)):
            return above
        if not isinstance(above, (ast.Tuple, ast.List, ast.Set, ast.Starred, ast.BinOp)):
            return None
        child = above
    return None


def _surrounding_role(names: Names, node: ast.expr) -> Role:
    if surrounding_test(names, node) is not None:
        return Role.TEST
    child: ast.AST = node
    for above in names.tree.ancestors(node):
        if isinstance(above, ast.Subscript) and child is above.slice:
            return Role.TYPE
        if isinstance(above, ast.Call) and names.qualified(above.func) in _TYPE_CALLS:
            return Role.TYPE
        if isinstance(above, (ast.AnnAssign, ast.arg)) and child is above.annotation:
            return Role.TYPE
        if isinstance(above, Function) and child is above.returns:
            return Role.TYPE
        if isinstance(above, (ast.stmt, ast.Call, ast.Lambda, ast.arguments)):
            break
        child = above
    return Role.VALUE


def _last_names(names: Names) -> set[str]:
    """How the project's own names for norm classes are spelled where they are imported."""
    known = names.index.names.items()
    return {name.rpartition(".")[2] for name, target in known if names.index.norm(target)}


def _local_names(alias: ast.alias, statement: ast.AST | None, names: Names) -> Iterator[str]:
    """The names under which an import brings in a norm class that is spelled otherwise."""
    if not isinstance(statement, ast.ImportFrom):
        return
    module = "." * statement.level + (statement.module or "")
    qualified = f"{module}{'' if module.endswith('.') else '.'}{alias.name}"
    if names.index.norm(names.index.names.get(qualified, qualified)):
        yield alias.asname or alias.name
