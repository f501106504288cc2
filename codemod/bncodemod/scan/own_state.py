"""Loads of a state that the program has taken from a module itself, copied or not."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from bncodemod.scan.literals import is_none
from bncodemod.scan.names import Names
from bncodemod.scan.scopes import BindingKind
from bncodemod.source.dotted_names import last_name

_COPIES = frozenset({"OrderedDict", "copy", "deepcopy", "dict"})


def own_states(names: Names, load: ast.Call) -> list[ast.Call]:
    """The calls of ``state_dict`` that give what a load takes; empty where other values may.

    A variable may be empty besides: ``best = None`` before a loop that keeps the best state.
    """
    found = list(_taken(names, load.args[0], set())) if load.args else []
    calls = [call for call in found if call is not None]
    return calls if len(calls) == len(found) else []


def _taken(names: Names, value: ast.AST | None, seen: set[ast.AST]) -> Iterator[ast.Call | None]:
    """The calls that give the keys of a value; None where it may have others."""
    if value in seen or is_none(value) or _is_empty(value):
        return
    seen.update([value] if value is not None else [])
    if isinstance(value, ast.Call) and last_name(value.func) == "state_dict":
        yield value
    elif isinstance(value, ast.Call) and _copies(value):
        copied = value.args[0] if value.args else getattr(value.func, "value", None)
        yield from _taken(names, copied, seen)
    elif isinstance(value, ast.DictComp):
        yield from _taken(names, _gone_through(value), seen)
    elif isinstance(value, (ast.Name, ast.Attribute)) and not is_changed(names, value):
        values = list(_assigned(names, value))
        if not values:
            yield None
        for each in values:
            yield from _taken(names, each, seen)
    else:
        yield None


def _is_empty(value: ast.AST | None) -> bool:
    return isinstance(value, ast.Dict) and not value.keys


def _copies(call: ast.Call) -> bool:
    return last_name(call.func) in _COPIES and not call.keywords


def _gone_through(copy: ast.DictComp) -> ast.expr | None:
    """The state that ``{key: value.clone() for key, value in state.items()}`` copies."""
    over = copy.generators[0]
    key = over.target.elts[0] if isinstance(over.target, ast.Tuple) else None
    if key is None or ast.unparse(key) != ast.unparse(copy.key):
        return None
    is_whole = len(copy.generators) == 1 and not over.ifs
    items = over.iter.func if isinstance(over.iter, ast.Call) else None
    if is_whole and isinstance(items, ast.Attribute) and items.attr == "items":
        return items.value
    return None


def _assigned(names: Names, variable: ast.Name | ast.Attribute) -> Iterator[ast.AST | None]:
    """What is assigned to a variable, or to an attribute that is written alike; None if unseen."""
    if isinstance(variable, ast.Name):
        for binding in names.scopes.reaching(variable) or ():
            yield binding.value if binding.kind is BindingKind.VALUE else None
        return
    for node in names.tree.occurrences(variable.attr):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if ast.unparse(node) == ast.unparse(variable):
                above = names.tree.parents.get(node)
                yield above.value if isinstance(above, (ast.Assign, ast.AnnAssign)) else None


def is_changed(names: Names, state: ast.Name | ast.Attribute) -> bool:
    """Whether a state dict gets other values: by ``update``, or one by one."""
    for node in names.tree.occurrences(last_name(state)):
        above = names.tree.parents.get(node)
        if isinstance(above, ast.Attribute) and above.attr == "update":
            return True
        if isinstance(above, ast.Subscript) and isinstance(above.ctx, ast.Store):
            return True
    return False
