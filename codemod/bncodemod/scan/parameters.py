"""Which parameter or field of a definition an argument of a call binds."""

from __future__ import annotations

import ast

from bncodemod.scan.scopes import Function, own_method


def fields(definition: ast.AST, position: int | None, keyword: str) -> list[str]:
    """The field of a dataclass or NamedTuple that an argument sets."""
    if not isinstance(definition, ast.ClassDef):
        return []
    if own_method(definition, "__init__") is not None:
        return []
    names = [
        s.target.id
        for s in definition.body
        if isinstance(s, ast.AnnAssign) and isinstance(s.target, ast.Name)
    ]
    if keyword:
        return [name for name in names if name == keyword]
    return names[position : position + 1] if position is not None else []


def parameters(
    definition: ast.AST | None, call: ast.Call, position: int | None, keyword: str
) -> list[ast.arg]:
    """The parameter of a function, method or class's ``__init__`` that an argument binds."""
    bound_self = 0
    if isinstance(definition, Function) and isinstance(call.func, ast.Attribute):
        first = definition.args.args[0].arg if definition.args.args else ""
        bound_self = int(first in ("self", "cls"))
    if isinstance(definition, ast.ClassDef):
        bound_self = 1
        definition = own_method(definition, "__init__")
    if not isinstance(definition, (ast.Lambda, *Function)):
        return []
    arguments = definition.args
    positional = [*arguments.posonlyargs, *arguments.args]
    if keyword:
        named = [a for a in (*positional, *arguments.kwonlyargs) if a.arg == keyword]
        return named or [a for a in [arguments.kwarg] if a is not None]
    if position is None or any(isinstance(a, ast.Starred) for a in call.args[:position]):
        return []
    place = position + bound_self
    return positional[place : place + 1] or [a for a in [arguments.vararg] if a is not None]


def is_super_init(func: ast.expr) -> bool:
    """``super().__init__``, without or with arguments."""
    return (
        isinstance(func, ast.Attribute)
        and func.attr == "__init__"
        and isinstance(func.value, ast.Call)
        and isinstance(func.value.func, ast.Name)
        and func.value.func.id == "super"
    )
