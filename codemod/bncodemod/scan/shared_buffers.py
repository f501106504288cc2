"""Ensembles that map over stacked parameters alone: all members use the buffers of one module."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from bncodemod.scan.called_modules import FUNCTIONAL_CALLS, Called
from bncodemod.scan.callers import calls_of
from bncodemod.scan.libraries import argument
from bncodemod.scan.module_expressions import MAKE_FUNCTIONAL
from bncodemod.scan.names import Names
from bncodemod.scan.scopes import BindingKind, Function
from bncodemod.scan.transforms import Transformed


def shares_buffers(names: Names, transformed: Transformed, called: Called) -> bool:
    """Whether ``vmap`` maps over parameters of a functional call, but not over its buffers.

    A dict that is mapped over may hold both, which does not show: it is taken for the parameters.
    """
    mapped = _Mapped(names, transformed, called)
    return mapped.directly() or any(map(mapped.parameters_alone, _states(names, called)))


def _states(names: Names, called: Called) -> Iterator[list[ast.expr]]:
    """The parameters and buffers that functional calls get."""
    for function in called.functions:
        for node in names.tree.walk_below(function):
            if isinstance(node, ast.Call):
                if names.qualified(node.func) in FUNCTIONAL_CALLS:
                    given = argument(node, "parameter_and_buffer_dicts", 1)
                    yield [given] if given is not None else []
                elif _is_functional(names, node.func):
                    yield node.args[:2]


class _Mapped:
    """Tells which arguments of a transformed function are mapped over."""

    def __init__(self, names: Names, transformed: Transformed, called: Called) -> None:
        self.names = names
        self.transformed = transformed
        self.called = called
        self.own = called.functions[:1]
        vmaps = [c for c in transformed.calls if names.qualified(c.func).endswith(".vmap")]
        self.dims = [argument(call, "in_dims", 1) for call in vmaps]
        if not vmaps and any(name.endswith(".vmap") for name in transformed.transforms):
            self.dims = [None]  # a decorator without arguments

    def directly(self) -> bool:
        """Whether the functional call itself is what is transformed, and is mapped over so."""
        function, place = self.transformed.function, 1
        if isinstance(function, ast.Call) and function.args:  # a partial
            function, place = function.args[0], 0
        if not isinstance(function, ast.expr):
            return False
        if _is_functional(self.names, function):
            return self._is_mapped_at(0) and not self._is_mapped_at(1)
        return (
            self.names.qualified(function) in FUNCTIONAL_CALLS
            and self._is_mapped_at(place)
            and not any(isinstance(v, ast.Tuple) for v in self._given_at(place))
        )

    def parameters_alone(self, states: Iterable[ast.expr]) -> bool:
        """Whether one dict of some states is mapped over, and no other."""
        found = [self._is_mapped(name, set()) for state in states for name in _variables(state)]
        return any(found) and not (len(found) > 1 and all(found))

    def _is_mapped(self, name: ast.Name, seen: set[ast.AST]) -> bool:
        return any(
            self._is_mapped_parameter(binding.node, seen)
            for binding in self.names.scopes.reaching(name) or ()
            if binding.kind is BindingKind.PARAMETER and binding.node not in seen
        )

    def _is_mapped_parameter(self, parameter: ast.AST, seen: set[ast.AST]) -> bool:
        seen.add(parameter)
        arguments = self.names.tree.parent(parameter)
        function = self.names.tree.parent(arguments)
        assert isinstance(arguments, ast.arguments)
        places = [*arguments.posonlyargs, *arguments.args]
        place = places.index(parameter) if parameter in places else -1
        if function in self.own:
            return self._is_mapped_at(place)
        if not isinstance(function, Function) or function not in self.called.functions:
            return False
        # A function that the transformed one calls: what it is handed there.
        for call in calls_of(self.names.tree, function):
            given = argument(call, parameter.arg, place)  # type: ignore[attr-defined]
            if given is not None and any(self._is_mapped(n, seen) for n in _variables(given)):
                return True
        return False

    def _is_mapped_at(self, place: int) -> bool:
        is_given = any(True for _ in self._given_at(place))
        return is_given and any(_may_be_mapped(dims, place) for dims in self.dims)

    def _given_at(self, place: int) -> Iterator[ast.expr]:
        """What the runs give at a place; a star may give it."""
        for run in self.transformed.runs:
            starred = [a for a in run.args if isinstance(a, ast.Starred)]
            yield from starred or run.args[place : place + 1]


def _may_be_mapped(dims: ast.expr | None, place: int) -> bool:
    if isinstance(dims, (ast.Tuple, ast.List)):
        dims = dims.elts[place] if 0 <= place < len(dims.elts) else ast.Constant(None)
    return dims is None or not (isinstance(dims, ast.Constant) and dims.value is None)


def _is_functional(names: Names, function: ast.expr) -> bool:
    """Whether a function is one that ``make_functional_with_buffers`` or its like has made."""
    bindings = names.scopes.reaching(function) if isinstance(function, ast.Name) else None
    return any(
        isinstance(b.value, ast.Call) and MAKE_FUNCTIONAL.search(ast.unparse(b.value.func))
        for b in bindings or ()
    )


def _variables(node: ast.expr) -> Iterator[ast.Name]:
    return (below for below in ast.walk(node) if isinstance(below, ast.Name))
