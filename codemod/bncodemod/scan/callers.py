"""Which calls of a file call one of its own functions and classes."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from bncodemod.scan.libraries import argument
from bncodemod.scan.scopes import Function
from bncodemod.source.tree import LazyTree

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def calls_of(tree: LazyTree, definition: Definition) -> Iterator[ast.Call]:
    """The calls by a definition's name; those of a method on whatever object.

    What calls an ``__init__`` is a call of its class.
    """
    owner = tree.parents.get(definition)
    is_method = isinstance(owner, ast.ClassDef)
    if isinstance(owner, ast.ClassDef) and definition.name == "__init__":
        definition, is_method = owner, False
    kind = ast.Attribute if is_method and isinstance(definition, Function) else ast.Name
    for use in tree.occurrences(definition.name):
        if isinstance(use, kind) and (call := tree.call_to(use)) is not None:
            yield call


def handed_to(tree: LazyTree, parameter: ast.AST) -> dict[ast.Call, ast.expr | None]:
    """What each call of a function hands to one of its parameters; None where it hands nothing.

    Empty for what no call is seen of, as a lambda.
    """
    function = tree.parent(tree.parent(parameter))
    if not isinstance(function, Function) or not isinstance(parameter, ast.arg):
        return {}
    places = [*function.args.posonlyargs, *function.args.args]
    is_static = "staticmethod" in map(ast.unparse, function.decorator_list)
    if isinstance(tree.parents.get(function), ast.ClassDef) and not is_static:
        del places[:1]
    position = places.index(parameter) if parameter in places else None
    return {call: argument(call, parameter.arg, position) for call in calls_of(tree, function)}


def is_handed_around(tree: LazyTree, use: ast.AST) -> bool:
    """Whether a use of a function by its name takes it as a value: in a dict, as an argument."""
    if not isinstance(use, (ast.Name, ast.Attribute)) or not isinstance(use.ctx, ast.Load):
        return False
    return not isinstance(tree.parents.get(use), ast.Attribute) and tree.call_to(use) is None
