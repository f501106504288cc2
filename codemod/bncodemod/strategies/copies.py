"""Copies that are made of a model: a later patch of the model does not reach them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from bncodemod.source.dotted_names import dotted, last_name
from bncodemod.strategies.context import Context
from bncodemod.strategies.model_scope import Scope

# By its name, a function or class copies the model that it is given: ``ModelEmaV2(model)``.
_COPYING = re.compile(
    r"(?:^|_)(?:ema|swa|deepcopy|copy|clone)(?:_|$)|Ema(?![a-z])|(?<![A-Z])EMA|Averag"
)
_DEEPCOPY = "deepcopy"


def copies_in(context: Context, scope: Scope) -> Iterator[ast.Call]:
    """The later calls in the scope of a model that copy it, or a part of it."""
    names = {target.rpartition(".")[2] for target in scope.targets}
    for name in names:
        for node in context.tree.occurrences(name):
            call = _given_to(context, node)
            if call is not None and dotted(node) in scope.targets and scope.is_later(call):
                if _copies(context, call):
                    yield call


def _given_to(context: Context, node: ast.AST) -> ast.Call | None:
    """The call that is given a model, or a part of it."""
    above = context.tree.parents.get(node)
    while isinstance(above, ast.Attribute) or (
        isinstance(above, ast.keyword) and above.value is node
    ):
        node, above = above, context.tree.parents.get(above)
    return above if isinstance(above, ast.Call) and above.func is not node else None


def _copies(context: Context, call: ast.Call) -> bool:
    """Whether a call copies what it is given, by its name or by what the file defines there."""
    function = call.func
    if _COPYING.search(last_name(function)):
        return True
    definitions = (meaning.definition for meaning in context.names.meanings(function))
    return any(
        definition is not None and bool(context.tree.occurrences(_DEEPCOPY, definition))
        for definition in definitions
    )
