"""Which functions build modules: what their annotations and their source say.

A function of a user's code may do anything, so it is called only if it promises a module: its
return annotation is one, or what it returns is a call of a module's class, of a function that
promises one, or of one that is handed a module's class, as in ``build(Net, "net_18")``. It may be
one of several that are returned, or in a condition, and ``.to(device)`` and the like may follow.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

import torch
from torch import nn

from bncodemod.verify.compiled import is_compiler
from bncodemod.verify.looking import function_below, is_instance, is_subclass
from bncodemod.verify.patch_results import gives_patched, named_in, without_chain
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
            for target in node.targets:  # ``models["a"] = …`` too
                name = target.value if isinstance(target, ast.Subscript) else target
                if isinstance(name, ast.Name):
                    assigned.setdefault(name.id, []).append(node.value)

    def values(node: ast.expr) -> Iterator[ast.expr]:
        for each in _parts(node):
            if isinstance(each, ast.Name) and each.id in assigned:
                for value in assigned[each.id]:
                    yield from _parts(value)
            else:
                yield each

    def built(node: ast.expr) -> Iterator[Any]:
        for call in values(node):
            if isinstance(call, ast.Call):
                yield (function := named_in(call.func, names))
                if function is torch.compile:
                    yield from itertools.chain.from_iterable(map(built, call.args[:1]))
                for argument in call.args:
                    found = [named_in(value, names) for value in values(argument)]
                    yield from (value for value in found if is_instance(value, type))

    for node in body:
        if isinstance(node, ast.Return) and node.value is not None:
            yield from built(node.value)


def _parts(node: ast.expr) -> Iterator[ast.expr]:
    """The expressions that may be the value of one, or among the values that it holds."""
    node = without_chain(node)
    inner: list[ast.expr] = []
    if isinstance(node, (ast.Tuple, ast.List)):
        inner = node.elts
    elif isinstance(node, ast.Dict):
        inner = node.values
    elif isinstance(node, (ast.ListComp, ast.GeneratorExp)):
        inner = [node.elt]
    elif isinstance(node, ast.DictComp):
        inner = [node.value]
    elif isinstance(node, ast.IfExp):
        inner = [node.body, node.orelse]
    elif isinstance(node, ast.BoolOp):
        inner = node.values
    if inner:
        yield from itertools.chain.from_iterable(map(_parts, inner))
    else:
        yield node


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function without those of the functions within it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield child
            yield from _own_nodes(child)
