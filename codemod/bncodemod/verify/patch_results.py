"""Which functions give back a model that they patch, as their source says."""

from __future__ import annotations

import ast
import types
from collections.abc import Mapping
from typing import Any

from bncodemod.scan.model_places import CHAIN
from bncodemod.strategies.patches import PATCHERS
from bncodemod.verify.looking import attribute, text
from bncodemod.verify.source_trees import tree_of


def kind_of(function: Any) -> str:
    """The kind of patch that a function makes, as in the settings; empty if it makes none."""
    return PATCHERS.get(text(function, "__name__").lstrip("_"), "")


def gives_patched(function: types.FunctionType) -> bool:
    """Whether a function gives back a model that it patches, alone or in a tuple."""
    if (tree := tree_of(function)) is None:
        return False
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and len(node.args) == 1]
    patches = [call for call in calls if kind_of(named_in(call.func, function.__globals__))]
    patched = {ast.unparse(call.args[0]) for call in patches}
    for node in ast.walk(tree) if patches else ():
        if isinstance(node, ast.Return) and node.value is not None:
            parts = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            for part in map(without_chain, parts):
                if part in patches or ast.unparse(part) in patched:
                    return True
    return False


def without_chain(value: ast.expr) -> ast.expr:
    """What a chain such as ``net.to(device).train()`` begins with."""
    while isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
        if value.func.attr not in CHAIN:
            break
        value = value.func.value
    return value


def named_in(expression: ast.expr, names: Mapping[str, Any]) -> Any:
    """What an expression, dotted or not, stands for among names; None for nothing."""
    if isinstance(expression, ast.Name):
        return names.get(expression.id)
    if isinstance(expression, ast.Attribute):
        holder = named_in(expression.value, names)
        return attribute(holder, expression.attr) if holder is not None else None
    return None
