"""Where the scope that builds a model first runs it under a transform, or trains it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

from bncodemod.scan.called_modules import CalledModules
from bncodemod.scan.callers import Definition, calls_of
from bncodemod.scan.transforms import Transformed, Transforms
from bncodemod.scan.weights import holders
from bncodemod.source.dotted_names import last_name
from bncodemod.strategies.context import Context
from bncodemod.strategies.model_scope import Scope

_TRAINS = re.compile(r"^_*(?:pre|fine_?)?(?:train|tune|fit)(?:_|$)")
_LEARNS = ("backward", "step")
_LOOPS = (ast.For, ast.AsyncFor, ast.While)


def first_run(context: Context, scope: Scope) -> int:
    """The line where a model first runs under a transform, or else is trained; 0 if none is seen.

    A training may run it under a transform in another file.
    """
    runs = [*_under_transforms(context, scope)] or [*_trainings(context, scope)]
    return min((context.tree.statement(node).lineno for node in runs), default=0)


def _under_transforms(context: Context, scope: Scope) -> Iterator[ast.AST]:
    """What runs the model in its scope by a transform of the file, itself or by a function."""
    transforms = Transforms(context.names)
    modules = CalledModules(context.names, transforms)
    for transformed in transforms.outermost():
        run = [transformed.function, *modules.of(transformed.function).functions]
        for node in (*transformed.runs, *transformed.escapes):
            if _is_in(context, scope, node) and _reads(scope, [node, *run]):
                yield node
        for definition in _around(context, transformed):
            for call in calls_of(context.tree, definition):
                if _is_in(context, scope, call) and _reads(scope, [call, definition]):
                    yield call


def _around(context: Context, transformed: Transformed) -> set[Definition]:
    """The functions and classes by which a transformed function runs."""
    return {
        definition
        for node in (*transformed.runs, *transformed.escapes)
        for definition in holders(context.names, node).values()
    }


def _trainings(context: Context, scope: Scope) -> Iterator[ast.AST]:
    """What trains the model in its scope: a function that says so, or a loop with an optimizer."""
    for node in context.tree.walk_below(scope.scope):
        if not isinstance(node, (ast.Call, *_LOOPS)) or not _is_in(context, scope, node):
            continue
        if isinstance(node, ast.Call):
            given = (*node.args, *(keyword.value for keyword in node.keywords))
            if _TRAINS.search(last_name(node.func)) and _reads(scope, given):
                yield node
        elif _learns(node) and _reads(scope, [node]):
            yield node


def _learns(loop: ast.AST) -> bool:
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in _LEARNS
        for node in ast.walk(loop)
    )


def _is_in(context: Context, scope: Scope, node: ast.AST) -> bool:
    """Whether a node is part of a statement of the scope, behind the one that builds the model."""
    return scope.is_later(context.tree.statement(node))


def _reads(scope: Scope, nodes: Iterable[ast.AST]) -> bool:
    """Whether the lines of some of the nodes name the model as the scope does."""
    scopes = scope.names.scopes
    for node in nodes:
        for target in scope.targets:
            root, _, last = target.rpartition(".")
            root = (root or last).partition(".")[0]
            for part in scope.tree.occurrences(last, node):
                if isinstance(part, (ast.Name, ast.Attribute)) and ast.unparse(part) == target:
                    # A parameter that is called alike is another variable.
                    here = scopes.binding_scope(root, scopes.scope_of(part))
                    if here is scopes.binding_scope(root, scope.scope):
                        return True
    return False
