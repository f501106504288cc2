"""Whether parameters by which a function was differentiated are changed afterwards: a training."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from bncodemod.scan.called_modules import FUNCTIONAL_CALLS, Called
from bncodemod.scan.libraries import argument
from bncodemod.scan.names import Names
from bncodemod.scan.transforms import Transformed

_IN_PLACE = re.compile(r"^(?:add|sub|mul|div|addcdiv|addcmul|lerp|copy)_$")
_DIFFERENTIATING = re.compile(r"\.(?:jacrev|jacfwd|jacobian|hessian|vjp|jvp|linearize)$")
_LOOPS = (ast.For, ast.AsyncFor, ast.While)


def line_of_update(names: Names, transformed: Transformed, called: Called, run: ast.Call) -> int:
    """The line that changes what a run is differentiated by, behind it or in a loop around; or 0.

    Known are assignments to it or its elements from itself, changes in place, optimizers that it
    is handed to, and new parameters that are computed of it and returned.
    """
    if not any(map(_DIFFERENTIATING.search, transformed.transforms)):
        return 0
    scope = names.scopes.scope_of(run)
    start = names.tree.statement(run)
    around = {a for a in names.tree.ancestors(run) if isinstance(a, _LOOPS)}
    nodes = [
        node
        for node in names.tree.walk_below(scope)
        if _line(node) > (start.end_lineno or 0)
        or not around.isdisjoint(names.tree.ancestors(node))
    ]
    for text in _differentiated_by(names, transformed, called, run):
        aliases = {text, *_elements(nodes, text)}
        for node in nodes:
            if _updates(names, node, aliases) or _made_of(node, text, aliases):
                return node.lineno  # type: ignore[attr-defined, no-any-return]
    return 0


def _line(node: ast.AST) -> int:
    at = node.target if isinstance(node, ast.comprehension) else node
    return getattr(at, "lineno", 0)


def _differentiated_by(
    names: Names, transformed: Transformed, called: Called, run: ast.Call
) -> Iterator[str]:
    """The variables among the arguments of a run that are parameters it is differentiated by."""
    places = {0}
    for call in transformed.calls:
        given = argument(call, "argnums", 1) if _has_argnums(call) else None
        if given is not None:
            constants = (n.value for n in ast.walk(given) if isinstance(n, ast.Constant))
            places = {value for value in constants if isinstance(value, int)}
    of_model = {place for f in called.functions[:1] for place in _parameters_of_model(names, f)}
    places &= of_model or places
    for place, value in enumerate(run.args):
        if place in places and isinstance(value, (ast.Name, ast.Attribute)):
            yield ast.unparse(value)


def _parameters_of_model(names: Names, function: ast.AST) -> Iterator[int]:
    """The places of the arguments that a function hands to a functional call as parameters."""
    arguments = getattr(function, "args", ast.arguments([], [], None, [], [], None, []))
    own = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
    for call in names.tree.walk_below(function):
        if isinstance(call, ast.Call) and names.qualified(call.func) in FUNCTIONAL_CALLS:
            given = argument(call, "parameter_and_buffer_dicts", 1)
            for node in ast.walk(given) if given is not None else ():
                if isinstance(node, ast.Name) and node.id in own:
                    yield own.index(node.id)


def _has_argnums(call: ast.Call) -> bool:
    return ast.unparse(call.func).rpartition(".")[2] in ("hessian", "jacfwd", "jacrev")


def _elements(nodes: list[ast.AST], text: str) -> Iterator[str]:
    """The variables of loops over what a variable holds."""
    for node in nodes:
        if isinstance(node, (*_LOOPS[:2], ast.comprehension)) and _reads(node.iter, {text}):
            yield from (n.id for n in ast.walk(node.target) if isinstance(n, ast.Name))


def _updates(names: Names, node: ast.AST, aliases: set[str]) -> bool:
    """Whether a node changes a variable in place, or hands it to an optimizer."""
    if isinstance(node, ast.AugAssign):
        return _whole(node.target) in aliases
    if not isinstance(node, ast.Call):
        return False
    if names.qualified(node.func).startswith("torch.optim."):
        return any(_reads(value, aliases) for value in node.args)
    function = node.func
    in_place = isinstance(function, ast.Attribute) and _IN_PLACE.search(function.attr)
    return bool(in_place) and _whole(function.value) in aliases  # type: ignore[attr-defined]


def _made_of(node: ast.AST, text: str, aliases: set[str]) -> bool:
    """Whether a node computes new values of a variable from it, and assigns or returns them."""
    if isinstance(node, ast.Assign):
        if not any(_whole(target) == text for target in node.targets):
            return False
    elif not isinstance(node, ast.Return) or node.value is None:
        return False
    value = node.value
    assert value is not None
    return any(
        isinstance(below, ast.BinOp)
        and isinstance(below.op, (ast.Add, ast.Sub))
        and (_whole(below.left) in aliases or _whole(below.right) in aliases)
        for below in ast.walk(value)
    )


def _whole(node: ast.expr) -> str:
    """What an expression is an element of, as source: ``p`` for ``p[k]`` and ``p[k].data``."""
    while isinstance(node, ast.Subscript) or (
        isinstance(node, ast.Attribute) and node.attr == "data"
    ):
        node = node.value
    return ast.unparse(node)


def _reads(node: ast.expr, names: set[str]) -> bool:
    below = (n for n in ast.walk(node) if isinstance(n, (ast.Name, ast.Attribute)))
    return any(ast.unparse(n) in names for n in below)
