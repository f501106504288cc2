"""Whether a comparison may find torch's batch norm on its other side."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from bncodemod.scan.names import Names
from bncodemod.scan.scopes import BindingKind, Comprehension
from bncodemod.source.calls import arguments_of

# Names under which other modules may hand torch's own class on.
_ALIAS = re.compile(
    r"_?(?:\w*[a-z0-9]_)?(?:sync_?|lazy_?)?(?:batch_?)?(?:norm(?:_?layer|_?class|_?cls|_?fn)?|bn)"
    r"(?:_?[123]d)?",
    re.IGNORECASE,
)
_CONTAINERS = frozenset({"dict", "list", "tuple", "set", "frozenset"})
_VIEWS = frozenset({"items", "keys", "values", "copy"})
_GROWS = frozenset({"append", "add", "insert", "extend", "update", "setdefault"})


def may_meet_batch_norm(names: Names, compare: ast.Compare) -> bool:
    """Whether two sides of a comparison, one of them a batch norm class, may both be torch's."""
    sides = (compare.left, *compare.comparators)
    return sum(any(_may_be(names, n) for n in _leaves(names, side, ())) for side in sides) > 1


def _leaves(names: Names, node: ast.expr, seen: tuple[ast.AST, ...]) -> Iterator[ast.expr]:
    """The expressions that a value may be, or hold: the entries of tables, through variables."""
    if node in seen:
        return
    seen = (*seen, node)
    parts = _parts(names, node)
    if parts is None:
        yield node
        return
    for part in parts:
        yield from _leaves(names, part, seen)


def _parts(names: Names, node: ast.expr) -> list[ast.expr] | None:
    """The expressions that make up a container; None for what is no container."""
    if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
        return list(node.elts)
    if isinstance(node, ast.Starred):
        return [node.value]
    if isinstance(node, ast.Dict):
        return [n for n in (*node.keys, *node.values) if n is not None]
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.BitOr)):
        return [node.left, node.right]
    if isinstance(node, Comprehension):
        return [generator.iter for generator in node.generators]
    if isinstance(node, ast.Call):
        return _parts_of_call(names, node)
    if isinstance(node, ast.Name):
        return _parts_of_variable(names, node)
    return None


def _parts_of_call(names: Names, call: ast.Call) -> list[ast.expr] | None:
    package, _, name = names.qualified(call.func).rpartition(".")
    if package == "builtins" and name in _CONTAINERS:
        return arguments_of(call)
    if isinstance(call.func, ast.Attribute) and call.func.attr in _VIEWS:
        return [call.func.value]
    return None


def _parts_of_variable(names: Names, node: ast.Name) -> list[ast.expr] | None:
    """The values of a variable that is nothing but tables from its assignments."""
    bindings = names.scopes.reaching(node) or []
    values = [b.value for b in bindings if b.kind is BindingKind.VALUE]
    if not values or len(values) < len(bindings) or _grows(names, node.id):
        return None
    found = [value for value in values if isinstance(value, ast.expr)]
    return found if len(found) == len(values) else None


def _grows(names: Names, name: str) -> bool:
    """Whether something is put into a table of that name after its assignment."""
    for use in names.tree.occurrences(name):
        above = names.tree.parents.get(use)
        if isinstance(above, ast.AugAssign) and use is above.target:
            return True
        if isinstance(above, ast.Subscript) and not isinstance(above.ctx, ast.Load):
            return True
        if isinstance(above, ast.Attribute) and above.attr in _GROWS:
            return True
    return False


def _may_be(names: Names, node: ast.expr) -> bool:
    """Whether an expression that is no table may be torch's batch norm, or is not known."""
    if isinstance(node, (ast.Constant, ast.JoinedStr, ast.Lambda)):
        return False
    if names.norms(node):
        return True
    for meaning in names.meanings(node):
        last = meaning.qualified.rpartition(".")[2]
        if meaning.definition is None and (not last or _is_alias(meaning.qualified)):
            return True
    return False


def _is_alias(qualified: str) -> bool:
    """Whether a name of another module may stand for torch's class."""
    package, _, last = qualified.rpartition(".")
    root = package.partition(".")[0]
    unclear = root != "builtins" and not last[:1].isupper()
    return root != "torch" and (unclear or bool(_ALIAS.fullmatch(last)))
