"""Where functions are transformed by ``vmap``, ``jacrev`` and their like, and where these then run.

``vmap(f)`` runs nothing yet: what counts is where its value is called, directly or by the name that
it is kept under. ``torch.autograd.functional.jacobian(f, x)`` runs at once.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from bncodemod.scan.libraries import argument, uses_of
from bncodemod.scan.names import Names
from bncodemod.scan.scopes import Function

_HOMES = ("torch.func", "functorch")
_LAZY = ("vmap", "jacrev", "jacfwd", "hessian", "grad", "grad_and_value")
_AT_ONCE = ("jvp", "vjp", "linearize")
_AUTOGRAD = ("jacobian", "hessian", "jvp", "vjp", "hvp", "vhp")

TRANSFORMS: dict[str, bool] = {
    **{f"{home}.{name}": False for home in _HOMES for name in _LAZY},
    **{f"{home}.{name}": True for home in _HOMES for name in _AT_ONCE},
    **{f"torch.autograd.functional.{name}": True for name in _AUTOGRAD},
    "torch.vmap": False,
}
"""The transforms, and whether one runs the function that it is given at once."""
_PARTIAL = "functools.partial"


@dataclass(slots=True, eq=False)
class Transformed:
    """A function under its transforms, outermost first: ``vmap(grad(f))``.

    ``node`` is the outermost transform, ``function`` what is transformed: an expression, or the
    definition that a transform decorates. ``runs`` are the calls that run it; ``escapes`` the uses
    after which that is not seen. ``calls``
    are the calls of the transforms.
    """

    node: ast.expr
    function: ast.AST
    transforms: tuple[str, ...]
    calls: tuple[ast.Call, ...] = ()
    runs: list[ast.Call] = field(default_factory=list)
    escapes: list[ast.AST] = field(default_factory=list)


class Transforms:
    """The transforms of one file."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.tree = names.tree
        self._called: dict[ast.Call, str] = {}
        self._decorating: dict[ast.AST, str] = {}
        for node, qualified in uses_of(names, TRANSFORMS):
            above = self.tree.parents.get(node)
            if isinstance(above, ast.Call) and above.func is node:
                self._called[above] = qualified
            elif isinstance(above, Function) and node in above.decorator_list:
                self._decorating[above] = qualified
            elif isinstance(above, ast.Call) and names.qualified(above.func) == _PARTIAL:
                holder = self.tree.parents.get(above)
                if isinstance(holder, Function) and above in holder.decorator_list:
                    self._decorating[holder] = qualified

    def outermost(self) -> Iterator[Transformed]:
        """Every function under its transforms, once, with the places where it runs."""
        for call, qualified in self._called.items():
            function = _given(call)
            if function is None:
                continue
            inner, calls = self._unwrapped(function, (call,))
            found = Transformed(call, inner, tuple(self._called[c] for c in calls), calls)
            if TRANSFORMS[qualified]:
                found.runs.append(call)
            else:
                self._follow(call, found)
            if found.runs or found.escapes:
                yield found
        for definition, qualified in self._decorating.items():
            assert isinstance(definition, Function)
            calls = tuple(d for d in definition.decorator_list if isinstance(d, ast.Call))
            first = definition.decorator_list[0]
            found = Transformed(first, definition, (qualified,), calls)
            self._follow_name(definition.name, definition, found)
            if found.runs or found.escapes:
                yield found

    def inner(self, function: ast.AST) -> ast.AST:
        """What an expression transforms, below all of its transforms."""
        return self._unwrapped(function, ())[0]

    def _unwrapped(
        self, function: ast.AST, calls: tuple[ast.Call, ...]
    ) -> tuple[ast.AST, tuple[ast.Call, ...]]:
        seen = set()
        while function not in seen:
            seen.add(function)
            value = self._value(function)
            if not isinstance(value, ast.Call) or value not in self._called:
                break
            inner = _given(value)
            if inner is None:
                break
            function = inner
            calls = (*calls, value)
        return function, calls

    def _value(self, node: ast.AST) -> ast.AST:
        """What a variable of one binding was assigned, else the node itself."""
        if isinstance(node, ast.Name):
            bindings = self.names.scopes.reaching(node) or []
            if len(bindings) == 1 and isinstance(bindings[0].value, ast.Call):
                if isinstance(self.tree.parents.get(bindings[0].node), ast.Assign):
                    return bindings[0].value
        return node

    def _follow(self, value: ast.expr, found: Transformed) -> None:
        """Note where a transformed function goes from an expression that gives it."""
        above = self.tree.parents.get(value)
        if isinstance(above, ast.Call):
            if above.func is value:
                found.runs.append(above)
                return
            if above in self._called and _given(above) is value:
                return  # the transform around it speaks for both
        if isinstance(above, ast.Assign) and len(above.targets) == 1:
            target = above.targets[0]
            if isinstance(target, ast.Name):
                self._follow_name(target.id, target, found)
                return
        if not isinstance(above, ast.Expr):
            found.escapes.append(value)

    def _follow_name(self, name: str, bound: ast.AST, found: Transformed) -> None:
        for use in self.tree.occurrences(name):
            if not isinstance(use, ast.Name) or not isinstance(use.ctx, ast.Load):
                continue
            bindings = self.names.scopes.reaching(use) or []
            if any(binding.node is bound for binding in bindings):
                self._follow(use, found)


def _given(call: ast.Call) -> ast.expr | None:
    """The function that a call of a transform is given."""
    return argument(call, "func", 0) or argument(call, "f", 0)
