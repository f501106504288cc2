"""What becomes of a value that is handed to a call, here or in another file."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace

from bncodemod.catalog.torch import FLAG_POSITION
from bncodemod.scan.callees import (
    asked_types,
    bases_that_take,
    call_of,
    definitions,
    is_key,
    keyword_of_class,
    may_be_method,
    may_need_class,
)
from bncodemod.scan.demand import Demand
from bncodemod.scan.index import Exit, ExitKind
from bncodemod.scan.literals import string
from bncodemod.scan.names import Names
from bncodemod.scan.need import Need
from bncodemod.scan.parameters import fields, parameters
from bncodemod.scan.reads import Reads

CONTAINER_METHODS = frozenset({"get", "pop", "setdefault", "values", "items", "copy"})
CONTAINER_ADDS = frozenset({"append", "add", "insert", "extend", "update"})
_CONTAINER_CALLS = frozenset({"dict", "list", "tuple", "set", "frozenset", "zip", "enumerate"})
_TYPE_CALLS = frozenset(
    {
        "builtins.type",
        "typing.NewType",
        "typing.TypeVar",
        "typing.cast",
        "typing_extensions.TypeVar",
    }
)


class HandingOver(Reads):
    """Follows a value into the functions and classes of the file, and out of it."""

    def __init__(self, names: Names) -> None:
        super().__init__(names)
        # The function that the value enters from another file.
        self.entered: ast.AST | None = None
        # The calls by which it enters functions of this file, and all that it stands in at first.
        self._entries: dict[ast.AST, list[ast.Call]] = {}
        self._origins: set[ast.AST] = set()
        self._entered: set[tuple[ast.AST, int | None, str]] = set()

    def start(self, node: ast.AST) -> None:
        """Follow a value from where it stands."""
        self._origins.update(self.tree.ancestors(node))
        self.add(node)

    def argument(self, call: ast.Call, node: ast.AST, position: int | None, keyword: str) -> None:
        """The value is an argument of a call."""
        callee = self.names.qualified(call.func)
        if callee in ("builtins.isinstance", "builtins.issubclass"):
            asked = asked_types(self.names, call)
            asks_for_class = "builtins.type" in asked and "functools.partial" not in asked
            if position == 1:
                self.demand(call, Need.INSTANCE_TEST)
            elif callee.endswith("issubclass") or asks_for_class:
                self.demand(call, Need.CLASS_TEST)
            elif asked & {"types.FunctionType", "types.LambdaType"}:
                self.demand(call, Need.FUNCTION_TEST)
        elif callee == "builtins.callable":
            return
        elif callee == "functools.partial":
            self.partial_argument(call, position, keyword)
        elif callee == "builtins.type" and len(call.args) > 1:
            self.demand(call, Need.REGISTRY)
        elif callee == "builtins.super":
            self.demand(call, Need.SUBCLASS)
        elif callee == "inspect.isclass":
            self.demand(call, Need.CLASS_TEST)
        elif callee in _TYPE_CALLS:
            self.demand(call, Need.TYPE)
        elif callee == "types.SimpleNamespace" and keyword:
            self.attribute_loads(keyword)
        elif callee == "builtins.getattr" and position == 2:
            self.add(call)
        elif callee == "builtins.setattr" and len(call.args) == 3:
            self.attribute_loads(string(call.args[1]))
            if not (isinstance(call.args[0], ast.Name) and call.args[0].id == "self"):
                self.demand(call, Need.ELSEWHERE)
        elif callee.startswith("builtins.") and callee[9:] in _CONTAINER_CALLS:
            if keyword:
                self.keys.add(keyword)
            self.add(call)
        elif is_key(call, position):
            self.demand(call, Need.IDENTITY)
        elif isinstance(call.func, ast.Attribute) and call.func.attr in CONTAINER_METHODS:
            self.add(call)
            self.container(call.func.value)
        elif isinstance(call.func, ast.Attribute) and call.func.attr in CONTAINER_ADDS:
            self.container(call.func.value)
        elif not self._into_parameter(call, position, keyword):
            guessed = may_need_class(call, keyword)
            self._hand_over(call, callee, position, keyword, guessed)

    def partial_argument(self, call: ast.Call, position: int | None, keyword: str) -> None:
        """An argument that a partial holds for the function that it wraps."""
        if position == 0:
            return
        wrapped = ast.Call(call.args[0], [], [])  # for looking up where the argument goes
        place = None if position is None else position - 1
        if not self._into_parameter(wrapped, place, keyword):
            callee = self.names.qualified(call.args[0])
            guessed = keyword_of_class(keyword)
            self._hand_over(call, callee, place, keyword, guessed)

    def _hand_over(
        self,
        call: ast.Call,
        callee: str,
        position: int | None,
        keyword: str,
        needs_class: bool,
    ) -> None:
        """An argument of a callable that is not in this file."""
        guess = [Demand(call, Need.REGISTRY, guessed=True)] if needs_class else []
        starred = any(isinstance(a, ast.Starred) for a in call.args[: (position or 0) + 1])
        if callee.startswith("builtins.") or starred or not (keyword or position is not None):
            callee = ""
        way = Exit(ExitKind.ARGUMENT, callee, position, keyword, _has_many(call))
        if not callee and not starred and may_be_method(self.names, call.func):
            method = call.func.attr  # type: ignore[attr-defined]
            way = replace(way, kind=ExitKind.METHOD, name=method)
        self.leave(call, way, guess)

    def _into_parameter(self, call: ast.Call, position: int | None, keyword: str) -> bool:
        """Follow an argument into the function or class of this file that takes it."""
        followed = False
        for base in bases_that_take(self.names, call.func):
            followed = True
            if (base, position, keyword) not in self._entered:
                self._entered.add((base, position, keyword))
                self.argument(call_of(base, call), call, position, keyword)
        for definition in definitions(self.names, call.func):
            self.tree.expand(definition)
            for parameter in parameters(definition, call, position, keyword):
                self._entries.setdefault(definition, []).append(call)
                if keyword and parameter.arg != keyword:
                    self.keys.add(keyword)  # it lies in a **kwargs
                self.variable(parameter.arg, parameter)
                followed = True
            for name in fields(definition, position, keyword):
                self.attribute_loads(name)
                followed = True
        return followed

    def returns_to(self, function: ast.AST, call: ast.Call) -> bool:
        """Whether a call gives the value back: where it went in, or if it came from within."""
        entries = self._entries.get(function)
        return entries is None or function in self._origins or call in entries

    def reaches_flag(self, star: ast.Starred, call: ast.Call) -> bool:
        """Whether the ``*args`` of a function is filled far enough by who hands it the value."""
        function = self._function_of(star)
        if function is None:
            return False
        if function is self.entered:
            self.flow.star_calls.append(call)
        entries = self._entries.pop(function, [])  # each once, however they call one another
        try:
            return any(_has_many(entry, self.reaches_flag) for entry in entries)
        finally:
            self._entries[function] = entries

    def _function_of(self, star: ast.Starred) -> ast.AST | None:
        """The function whose ``*args`` a star hands on, or the class whose ``__init__`` does."""
        if not isinstance(star.value, ast.Name):
            return None
        for binding in self.names.scopes.reaching(star.value) or ():
            arguments = self.tree.parents.get(binding.node)
            if isinstance(arguments, ast.arguments) and arguments.vararg is binding.node:
                function = self.tree.parent(arguments)
                owner = self.tree.parent(function)
                return owner if isinstance(owner, ast.ClassDef) else function
        return None


def _has_many(
    call: ast.Call, star: Callable[[ast.Starred, ast.Call], bool] = lambda *_: True
) -> bool:
    """Whether a call has arguments enough beside one norm class to fill up to the norm's flag."""
    if len(call.args) > FLAG_POSITION + 1:
        return True
    return any(isinstance(a, ast.Starred) and star(a, call) for a in call.args)
