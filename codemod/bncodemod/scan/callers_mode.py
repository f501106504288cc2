"""The mode in which a module comes to a function: what is said where that is called."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace

from bncodemod.scan.callers import calls_of, is_handed_around
from bncodemod.scan.last_mode import LastMode, Mode, Said
from bncodemod.scan.libraries import argument
from bncodemod.scan.names import Names
from bncodemod.scan.scopes import Function

_MAX_CALLERS = 3


def last_mode(names: Names, module: str, statement: ast.stmt, depth: int = _MAX_CALLERS) -> Said:
    """What is said last of a module's mode above a statement, or above the calls that lead to it.

    One call with the module in train mode is enough for that; in eval mode all have to have it.
    """
    said = LastMode(names, module, statement).said()
    if said.mode is not Mode.UNKNOWN or said.is_undone or not depth:
        return said
    found = [
        last_mode(names, text, call, depth - 1) if text else Said()
        for text, call in _at_callers(names, module, statement)
    ]
    trained = [there for there in found if there.mode is Mode.TRAIN]
    if trained:
        return trained[0]
    evaluated = found and all(there.mode is Mode.EVAL for there in found)
    if not evaluated or not _shows_all_calls(names, statement):
        return said
    is_on = said.has_dropout_on or any(there.has_dropout_on for there in found)
    return replace(found[0], has_dropout_on=is_on)


def _shows_all_calls(names: Names, statement: ast.stmt) -> bool:
    """Whether nothing but the calls that the file shows runs the function around a statement."""
    function = next((a for a in names.tree.ancestors(statement) if isinstance(a, Function)), None)
    if not isinstance(function, Function) or function.decorator_list:
        return False
    if isinstance(names.tree.parents.get(function), ast.ClassDef):
        return False  # whoever has an object calls its methods
    if any(is_handed_around(names.tree, use) for use in names.tree.occurrences(function.name)):
        return False
    return function.name in names.index.uses.alone


def _at_callers(names: Names, module: str, statement: ast.stmt) -> Iterator[tuple[str, ast.stmt]]:
    """What the module is called where the function around a statement is called, and where.

    Empty where that is no name.
    """
    function = next((a for a in names.tree.ancestors(statement) if isinstance(a, Function)), None)
    if not isinstance(function, Function):
        return
    root, rest = _split(module)
    bound_in = names.scopes.binding_scope(root, function)
    calls = list(calls_of(names.tree, function))
    for call in calls:
        caller = names.tree.statement(call)
        text = _handed(names, function, call, root) if bound_in is function else root
        is_seen = bound_in is function or _sees(names, caller, root, bound_in)
        yield (text + rest if text and is_seen else ""), caller
    if not calls and bound_in is not None and bound_in is not function:
        yield module, function


def _split(module: str) -> tuple[str, str]:
    """The variable of an expression, and what follows it."""
    end = next((at for at, sign in enumerate(module) if sign in ".["), len(module))
    return module[:end], module[end:]


def _sees(names: Names, statement: ast.stmt, root: str, scope: ast.AST | None) -> bool:
    return names.scopes.binding_scope(root, names.scopes.scope_of(statement)) is scope


def _handed(
    names: Names, function: ast.FunctionDef | ast.AsyncFunctionDef, call: ast.Call, root: str
) -> str:
    """What a call hands to a parameter of a function, as source; empty if that is no parameter."""
    places = [a.arg for a in (*function.args.posonlyargs, *function.args.args)]
    if isinstance(names.tree.parents.get(function), ast.ClassDef):
        if places[:1] == [root]:
            return ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
        places = places[1:]
    keywords = [a.arg for a in function.args.kwonlyargs]
    if root not in (*places, *keywords):
        return ""
    given = argument(call, root, places.index(root) if root in places else None)
    is_named = isinstance(given, (ast.Name, ast.Attribute, ast.Subscript))
    return ast.unparse(given) if given is not None and is_named else ""
