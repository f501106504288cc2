"""Which names the classes and functions of a file mention, and those mention in turn."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Set
from types import ModuleType

from bncodemod.verify.looking import text


class Mentions:
    """The names in each top-level class, function and assignment of a file, attributes' too."""

    def __init__(self, path: str) -> None:
        with open(path, "rb") as file:
            tree = ast.parse(file.read())
        self._direct: dict[str, set[str]] = {}
        for statement in tree.body:
            for name in _defined(statement):
                self._direct.setdefault(name, set()).update(_names(statement))

    def all_of(self, name: str) -> frozenset[str]:
        """What ``name`` mentions, by way of others of the file too; itself included."""
        found = {name}
        waiting = [name]
        while waiting:
            new = self._direct.get(waiting.pop(), set()) - found
            found |= new
            waiting += new
        return frozenset(found)

    def users_of(self, names: Set[str], among: Iterable[str]) -> list[str]:
        """Those of the dotted names which mention one of ``names``; the outermost ones first."""
        mentioned = {name: self.all_of(name.partition(".")[0]) for name in among}
        users = [name for name, all_of_it in mentioned.items() if all_of_it & (names - {name})]
        return sorted(users, key=lambda name: sum(name in mentioned[other] for other in users))


def aliases(module: ModuleType, names: Set[str]) -> frozenset[str]:
    """The names under which a module has classes and functions that others know by ``names``."""
    globals_ = vars(module).items()
    return frozenset(alias for alias, value in globals_ if text(value, "__qualname__") in names)


def has_users(data: bytes, name: str) -> bool:
    """Whether a file has a class, or a function that gives something back, that mentions a name.

    Its other lines are those of a script.
    """
    body = _body(data)
    aliases = {name}
    for statement in body:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            last = {each.asname or "": each.name.rpartition(".")[2] for each in statement.names}
            aliases |= {alias for alias, imported in last.items() if imported == name and alias}
    return any(
        isinstance(statement, ast.ClassDef) or _gives_something(statement)
        for statement in body
        if isinstance(statement, (ast.ClassDef, ast.FunctionDef))
        and not aliases.isdisjoint(_names(statement))
    )


def is_script(data: bytes) -> bool:
    """Whether an import of a file does what it is there for: it loops, or calls what it defines."""
    body = _body(data)
    known = {name for statement in body for name in _bound(statement)}
    for statement in body:
        if isinstance(statement, (ast.For, ast.While, ast.With)):
            return True
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            root = _root(statement.value)
            if root not in known and not root.startswith("__"):
                return True
    return False


def _body(data: bytes) -> list[ast.stmt]:
    try:
        return ast.parse(data).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _root(node: ast.expr) -> str:
    """The name that an expression begins with, as ``sys`` in ``sys.path.append(here)``."""
    while not isinstance(node, ast.Name):
        if isinstance(node, ast.Call):
            node = node.func
        elif isinstance(node, (ast.Attribute, ast.Subscript)):
            node = node.value
        else:
            return ""
    return node.id


def _bound(statement: ast.stmt) -> Iterator[str]:
    """The names that an import or an assignment binds, also in one that is tried."""
    for node in ast.walk(statement) if isinstance(statement, (ast.Try, ast.If)) else (statement,):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from ((each.asname or each.name).partition(".")[0] for each in node.names)
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def _gives_something(function: ast.AST) -> bool:
    nodes = ast.walk(function)
    return any(isinstance(node, ast.Return) and node.value is not None for node in nodes)


def _defined(statement: ast.stmt) -> list[str]:
    if isinstance(statement, (ast.ClassDef, ast.FunctionDef)):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else ()
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _names(statement: ast.stmt) -> Iterator[str]:
    for node in ast.walk(statement):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
