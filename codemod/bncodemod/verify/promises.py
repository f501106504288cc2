"""Which functions build modules: what their annotations and their source say.

A function of a user's code may do anything, so it is called only if it promises a module: its
return annotation is one, or what it returns is a call of a module's class, of a function that
promises one, or of one that is handed a module's class, as in ``build(Net, "net_18")``.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

from torch import nn

from bncodemod.verify.compiled import is_compiler
from bncodemod.verify.looking import function_below, is_instance, is_subclass
from bncodemod.verify.patch_results import gives_patched, named_in
from bncodemod.verify.source_trees import tree_of

_DEEPEST = 6  # functions that return what other functions return


def builds_module(target: Callable[..., Any]) -> bool:
    """Whether calling ``target`` is known to give an ``nn.Module``."""
    return _promises(target, _DEEPEST)


def _promises(target: Any, depth: int) -> bool:
    if is_instance(target, type):
        return is_subclass(target, nn.Module)
    if is_compiler(target):
        return True
    function = function_below(target)
    if function is None or depth == 0:
        return False
    if gives_patched(function):
        return True
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        return False
    if function.__module__.split(".")[0] == "torch":
        return _annotated(function)
    found = _returned(function, {**function.__globals__, **_owner(target, function)})
    return _annotated(function) or any(
        _promises(each, depth - 1) for each in found if each != target
    )


def _owner(target: Any, function: types.FunctionType) -> dict[str, Any]:
    """The class that a classmethod is called on, by the name that the method has for it."""
    owner = target.__self__ if is_instance(target, types.MethodType) else None
    first = function.__code__.co_varnames[:1]
    return dict.fromkeys(first, owner) if is_instance(owner, type) else {}


def _annotated(function: types.FunctionType) -> bool:
    """Whether the return annotation is a module, or may be one (``Optional``, a union)."""
    annotation = function.__annotations__.get("return")
    if isinstance(annotation, str):
        try:
            annotation = eval(annotation, function.__globals__)
        except Exception:
            return False
    return any(is_subclass(kind, nn.Module) for kind in (annotation, *get_args(annotation)))


def _returned(function: types.FunctionType, names: Mapping[str, Any]) -> Iterator[Any]:
    """What the function calls to make its results, and the classes that it hands to these calls.

    As far as the ``names`` are known, or those of a local variable for one of them.
    """
    if (tree := tree_of(function)) is None:
        return
    body = list(_own_nodes(tree.body[0]))
    assigned: dict[str, list[ast.expr]] = {}
    for node in body:
        if isinstance(node, ast.Assign):
            for name in node.targets:
                if isinstance(name, ast.Name):
                    assigned.setdefault(name.id, []).append(node.value)

    def values(node: ast.expr) -> list[ast.expr]:
        return assigned.get(node.id, [node]) if isinstance(node, ast.Name) else [node]

    for node in body:
        if isinstance(node, ast.Return) and node.value is not None:
            parts = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            for call in itertools.chain.from_iterable(map(values, parts)):
                if isinstance(call, ast.Call):
                    yield named_in(call.func, names)
                    for argument in call.args:
                        found = [named_in(value, names) for value in values(argument)]
                        yield from (value for value in found if is_instance(value, type))


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function without those of the functions within it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield child
            yield from _own_nodes(child)
