"""Arguments that lead a constructor into the branches in which its sites stand.

A norm that is built only ``if stride > 1`` is not in what the shortest call builds. The tests
around a site, or around the uses of the parameter that has it as its default, say what to pass.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bncodemod.verify.model import Site
from bncodemod.verify.source_trees import tree_of

Values = dict[str, Any]

_DEEPEST = 3  # variables that are computed from others
_MOST = 4  # ways of meeting one test


def steered(
    target: Callable[..., Any],
    sites: Sequence[Site],
    defaults: Values,
    value_of: Callable[[str], Any],
    instance_of: Callable[[type], Any],
) -> Iterator[Values]:
    """Keywords to add to a call of ``target`` so that it comes by ``sites``, each once.

    ``defaults`` are what its parameters are otherwise; ``value_of`` finds a value for one by name,
    ``instance_of`` one of a class.
    """
    tree = tree_of(target)
    if tree is None:
        return
    names = _globals(target)

    def makers(expression: ast.expr) -> list[Any]:
        parts = expression.elts if isinstance(expression, ast.Tuple) else [expression]
        kinds = [names.get(_name(part)) for part in parts]
        return [instance_of(kind) for kind in kinds if inspect.isclass(kind)]

    found: list[Values] = []
    for site in sites:
        for tests in _ways(tree, site):
            for wish in _Wishes(tests, defaults, value_of, makers).all():
                if wish and wish not in found:
                    found.append(wish)
                    yield wish


def below_tests(target: Callable[..., Any], sites: Sequence[Site]) -> frozenset[Site]:
    """The sites that only some calls of ``target`` come by."""
    tree = tree_of(target)
    return frozenset(site for site in sites if tree is not None and any(_ways(tree, site)))


def own_parameters(target: Callable[..., Any], sites: Sequence[Site]) -> frozenset[str]:
    """The parameters whose defaults are sites: these run only where nothing else is passed."""
    tree = tree_of(target)
    functions = [(_innermost(tree, site.line), site.line) for site in sites] if tree else []
    return frozenset(_parameter(found, line) for found, line in functions if found)


def _globals(target: Callable[..., Any]) -> Mapping[str, Any]:
    """The names of the file that a class or function stands in."""
    return vars(sys.modules.get(inspect.unwrap(target).__module__, object))


Test = tuple[ast.expr, bool]  # a condition, and whether it has to hold


@dataclass(frozen=True)
class _Tests:
    """The tests that a place stands below, and what the variables in them are assigned."""

    tests: Sequence[Test]
    assigned: Mapping[str, ast.expr]


def _ways(tree: ast.Module, site: Site) -> Iterator[_Tests]:
    """The tests around each place at which a site is used."""
    function = _innermost(tree, site.line)
    if function is None:
        return
    assigned: dict[str, ast.expr] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for name in node.targets:
                assigned.setdefault(_name(name), node.value)
    parameter = _parameter(function, site.line)
    for statement in function.body:
        for node, tests in _below(statement, []):
            if parameter:
                is_use = isinstance(node, (ast.Name, ast.Attribute)) and _name(node) == parameter
                is_use = is_use and isinstance(getattr(node, "ctx", None), ast.Load)
            else:
                is_use = isinstance(node, ast.expr) and node.lineno == site.line
            if is_use and tests:
                yield _Tests(tests, assigned)


def _innermost(tree: ast.Module, line: int) -> ast.FunctionDef | None:
    functions = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.lineno <= line <= (node.end_lineno or 0)
    ]
    return max(functions, key=lambda node: node.lineno, default=None)


def _parameter(function: ast.FunctionDef, line: int) -> str:
    """The parameter whose default stands at a line; empty if none does."""
    given = function.args
    positional = [*given.posonlyargs, *given.args]
    pairs = [
        *zip(reversed(positional), reversed(given.defaults), strict=False),
        *zip(given.kwonlyargs, given.kw_defaults, strict=True),
    ]
    for parameter, default in pairs:
        if default is not None and parameter.lineno <= line <= (default.end_lineno or 0):
            return parameter.arg
    return ""


def _below(node: ast.AST, tests: list[Test]) -> Iterator[tuple[ast.AST, list[Test]]]:
    """All nodes of a statement, each with the tests that it stands below."""
    yield node, tests
    if isinstance(node, (ast.If, ast.IfExp)):
        yield from _below(node.test, tests)
        for name, holds in (("body", True), ("orelse", False)):
            part = getattr(node, name)
            for child in part if isinstance(part, list) else [part]:
                yield from _below(child, [*tests, (node.test, holds)])
        return
    if isinstance(node, ast.BoolOp):  # the second is looked at only if the first does not decide
        goes_on = isinstance(node.op, ast.And)
        for place, value in enumerate(node.values):
            before = [(each, goes_on) for each in node.values[:place]]
            yield from _below(value, [*tests, *before])
        return
    for child in ast.iter_child_nodes(node):
        yield from _below(child, tests)


class _Wishes:
    """What the parameters have to be for a place to be come by."""

    def __init__(
        self,
        tests: _Tests,
        defaults: Values,
        value_of: Callable[[str], Any],
        instances: Callable[[ast.expr], list[Any]],
    ) -> None:
        self._tests, self._defaults = tests, defaults
        self._value_of, self._instances = value_of, instances

    def all(self) -> Iterator[Values]:
        wishes: list[Values] = [{}]
        for test, holds in self._tests.tests:
            ways = list(self._of(test, holds, 0))[:_MOST] or [{}]
            wishes = [{**wish, **way} for wish in wishes for way in ways][: 2 * _MOST]
        yield from wishes

    def _of(self, test: ast.expr, holds: bool, depth: int) -> Iterator[Values]:
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            yield from self._of(test.operand, not holds, depth)
        elif isinstance(test, ast.BoolOp):
            ways = [list(self._of(part, holds, depth))[:_MOST] for part in test.values]
            if isinstance(test.op, ast.And) == holds:  # all of them
                yield {name: value for way in ways if way for name, value in way[0].items()}
            else:
                yield from (wish for way in ways for wish in way)
        elif isinstance(test, ast.Compare) and len(test.ops) == 1:
            yield from self._compared(test, holds, depth)
        elif isinstance(test, ast.Call) and _name(test.func) == "isinstance":
            value, kinds = test.args
            if holds and (name := _name(value)) in self._defaults:
                yield from ({name: each} for each in self._instances(kinds))
        elif (name := _name(test)) in self._defaults:
            yield from ({name: value} for value in self._others(name, holds))
        else:
            yield from self._computed(test, holds, depth)

    def _compared(self, test: ast.Compare, holds: bool, depth: int) -> Iterator[Values]:
        left, right, op = test.left, test.comparators[0], test.ops[0]
        name = _name(left)
        if name not in self._defaults or not isinstance(op, tuple(_MEETING)):
            yield from self._computed(test, holds, depth)
            return
        try:
            constant = ast.literal_eval(right)
        except (ValueError, TypeError):
            yield from self._computed(test, holds, depth)
            return
        kind = type(op) if holds else _OPPOSITE[type(op)]
        if constant is None:
            yield {name: None if kind in (ast.Is, ast.Eq) else self._value_of(name)}
        else:
            yield from ({name: value} for value in _MEETING[kind](constant))

    def _computed(self, test: ast.expr, holds: bool, depth: int) -> Iterator[Values]:
        """Other values for the parameters that a variable comes from."""
        name = _name(test)
        if depth < _DEEPEST and name in self._tests.assigned:
            yield from self._of(self._tests.assigned[name], holds, depth + 1)
            return
        for node in ast.walk(test):
            inner = _name(node)
            if node is test or not inner:
                continue
            if inner in self._defaults:
                yield from ({inner: value} for value in self._others(inner, True))
            elif depth < _DEEPEST and inner in self._tests.assigned:
                yield from self._of(self._tests.assigned[inner], holds, depth + 1)

    def _others(self, name: str, holds: bool) -> Iterator[Any]:
        """Values that count as true, or as false, other than the parameter's own."""
        current = self._defaults[name]
        if isinstance(current, bool):
            yield holds
        elif not holds:
            yield 0 if isinstance(current, (int, float)) else None
        elif isinstance(current, int):
            yield from (2 * current, current + 1) if current else (1, 2)
        elif isinstance(current, float):
            yield current or 0.5
        elif current is None or current == "":
            yield self._value_of(name)
        elif isinstance(current, (list, tuple)) and all(type(item) is int for item in current):
            yield type(current)(2 * item for item in current)


def _next(number: Any) -> list[Any]:
    return [number + 1, 2 * number + 2] if isinstance(number, (int, float)) else []


def _before(number: Any) -> list[Any]:
    return [number - 1] if isinstance(number, (int, float)) else []


def _other(value: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    return [2 * value or 1, value + 1] if isinstance(value, (int, float)) else []


def _items(values: Any) -> list[Any]:
    return list(values)[:_MOST] if isinstance(values, (list, tuple, set)) else []


# What makes a comparison with a constant hold.
_MEETING: dict[type[ast.cmpop], Callable[[Any], list[Any]]] = {
    ast.Eq: lambda value: [value],
    ast.Is: lambda value: [value],
    ast.NotEq: _other,
    ast.IsNot: _other,
    ast.Gt: _next,
    ast.GtE: lambda value: [value],
    ast.Lt: _before,
    ast.LtE: lambda value: [value],
    ast.In: _items,
    ast.NotIn: lambda values: [],
}
_OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.GtE: ast.Lt,
    ast.Lt: ast.GtE,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}


def _name(node: ast.AST) -> str:
    """``x``, also of ``self.x``: attributes are named like the parameters they come from."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return node.attr if node.value.id == "self" else ""
    return ""
