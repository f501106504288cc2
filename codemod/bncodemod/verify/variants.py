"""Calls in the project that make another norm of a line than the call that was checked."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from bncodemod.verify.model import Example, Site

_SIZES = frozenset({"num_features", "num_channels", "eps", "momentum"})  # which decide nothing


def variants(
    target: Callable[..., Any], calls: Iterable[Example], sites: Iterable[Site]
) -> Iterator[Example]:
    """The calls of ``target`` that pass other values than its defaults for what the sites name.

    As ``Block(8, stats=True)``, where a line says ``BatchNorm2d(c, track_running_stats=stats)``.
    """
    names = frozenset().union(*map(_names, sites))
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return
    for call in calls:
        if any(_is_other(signature, name, value) for name, value in _given(call, signature, names)):
            yield call


def _names(site: Site) -> frozenset[str]:
    """The names that decide what kind of norm a site's expression makes."""
    try:
        expression = ast.parse(site.text.strip(), mode="eval").body
    except SyntaxError:
        return frozenset()
    if not isinstance(expression, ast.Call):
        return frozenset()
    parts = [*expression.args[1:], *(k.value for k in expression.keywords if k.arg not in _SIZES)]
    nodes = [node for part in parts for node in ast.walk(part)]
    plain = {node.id for node in nodes if isinstance(node, ast.Name)}
    return frozenset(plain | {node.attr for node in nodes if isinstance(node, ast.Attribute)})


def _given(
    call: Example, signature: inspect.Signature, names: frozenset[str]
) -> Iterator[tuple[str, Any]]:
    """What a call passes for parameters of these names; its arguments are literals."""
    parsed = ast.parse(f"f({call.arguments})", mode="eval").body
    assert isinstance(parsed, ast.Call)
    try:
        bound = signature.bind_partial(
            *map(ast.literal_eval, parsed.args),
            **{str(each.arg): ast.literal_eval(each.value) for each in parsed.keywords},
        ).arguments
    except TypeError:  # it is a call of something else of that name
        return
    for name, value in bound.items():
        if name in names:
            yield name, value


def _is_other(signature: inspect.Signature, name: str, value: Any) -> bool:
    return bool(value != signature.parameters[name].default)
