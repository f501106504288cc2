"""Whether what stands in a ``with`` statement is seen to put a module into eval mode."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from bncodemod.scan.names import Names
from bncodemod.scan.scopes import Function

_CONDITIONS = (ast.If, ast.IfExp, ast.BoolOp, ast.ExceptHandler, ast.While, ast.Lambda)


def sets_eval_mode(names: Names, expression: ast.expr, module: str) -> bool:
    """Whether a context manager that is called with a module puts it into eval mode.

    That is seen where the file defines it: a name alone says nothing of what it does.
    """
    if not isinstance(expression, ast.Call):
        return False
    definitions = [meaning.definition for meaning in names.meanings(expression.func)]
    return bool(definitions) and all(
        _evaluates(names, definition, expression, module) for definition in definitions
    )


def _evaluates(names: Names, definition: ast.AST | None, call: ast.Call, module: str) -> bool:
    if isinstance(definition, ast.ClassDef):
        methods = {node.name: node for node in definition.body if isinstance(node, Function)}
        made, entered = methods.get("__init__"), methods.get("__enter__")
        if made is None or entered is None:
            return False
        parameter = _parameter(made, call, module, skip=1)
        kept = {f"self.{name}" for name in _kept_as(made, parameter)}
        return _is_put(names, made, {parameter}) or _is_put(names, entered, kept)
    if not isinstance(definition, Function):
        return False
    yields = [node for node in names.tree.walk_below(definition) if isinstance(node, ast.Yield)]
    parameter = _parameter(definition, call, module, skip=0)
    return bool(yields) and _is_put(names, definition, {parameter}, before=yields[0].lineno)


def _parameter(
    function: ast.FunctionDef | ast.AsyncFunctionDef, call: ast.Call, module: str, skip: int
) -> str:
    """The parameter that a call hands a module to; empty if none."""
    for keyword in call.keywords:
        if keyword.arg is not None and ast.unparse(keyword.value) == module:
            return keyword.arg
    places = [a.arg for a in (*function.args.posonlyargs, *function.args.args)][skip:]
    for position, value in enumerate(call.args):
        if ast.unparse(value) == module:
            rest = function.args.vararg
            return places[position] if position < len(places) else rest.arg if rest else ""
    return ""


def _kept_as(function: ast.AST, parameter: str) -> Iterator[str]:
    """The attributes that a method assigns one of its parameters to."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and ast.unparse(node.value) == parameter:
            yield from (t.attr for t in node.targets if isinstance(t, ast.Attribute))


def _is_put(names: Names, function: ast.AST, modules: set[str], before: int | None = None) -> bool:
    """Whether a function puts modules, or the elements of a list, into eval mode, and leaves them.

    Only what surely runs counts, and of a generator what stands before its ``yield``.
    """
    nodes = list(names.tree.walk_below(function))
    modules = {*modules, *_elements(nodes, modules)} - {""}
    last = ""
    for node in sorted(_switches(nodes), key=lambda n: n.lineno):
        if before is None or node.lineno < before:
            last = ast.unparse(node)
            above = names.tree.ancestors(node)
            if any(isinstance(a, _CONDITIONS) for a in _up_to(above, function)):
                return False
    return any(last in (f"{module}.eval()", f"{module}.train(False)") for module in modules)


def _switches(nodes: list[ast.AST]) -> Iterator[ast.Call]:
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in ("eval", "train"):
                yield node


def _elements(nodes: list[ast.AST], modules: set[str]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, (ast.For, ast.AsyncFor)) and ast.unparse(node.iter) in modules:
            yield ast.unparse(node.target)


def _up_to(ancestors: Iterator[ast.AST], end: ast.AST) -> Iterator[ast.AST]:
    for above in ancestors:
        if above is end:
            return
        yield above
