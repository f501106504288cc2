"""Where the project's own source builds the models that hold a norm of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

from bncodemod.scan.callers import Definition
from bncodemod.scan.model_places import holder_of, kept_in
from bncodemod.scan.module_expressions import ModuleExpressions
from bncodemod.scan.scopes import Function
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import BuiltModel

# Methods of a class that build an instance and load its weights.
_BUILDS = re.compile(r"load_from_checkpoint$|from_")
_TESTS = ("builtins.isinstance", "builtins.issubclass")


def built_models(context: Context, node: ast.AST) -> BuiltModel | None:
    """The calls of the file that build all models that hold a norm; None where one is not seen."""
    return _model_of(_Seeker(context).around(node))


def given_models(context: Context, node: ast.AST) -> BuiltModel | None:
    """The same, but where a function gives back what it builds, the calls of the function."""
    return _model_of(_Seeker(context, callers_too=True).around(node))


def _model_of(calls: Iterable[ast.Call | None]) -> BuiltModel | None:
    distinct = list(dict.fromkeys(calls))
    found = tuple(call for call in distinct if call is not None)
    return BuiltModel(found, weights=False) if found and len(found) == len(distinct) else None


def built_in(context: Context, node: ast.AST) -> str:
    """Another file that may build what holds a norm: it has the name of a class or function."""
    for above in context.tree.ancestors(node):
        if isinstance(above, (ast.ClassDef, *Function)):
            place = context.names.index.uses.named.get(above.name)
            if place:
                return place
    return ""


def calls_of_class(context: Context, definition: ast.ClassDef) -> BuiltModel | None:
    """The calls that build the instances of a class of the file; None where one is not seen."""
    return _model_of(_Seeker(context).of_class(definition))


class _Seeker:
    """Goes outwards from a norm: to the calls of its class, of the class that calls that.

    It gives None where a class or function is used in another way, or may be by another file.
    """

    def __init__(self, context: Context, *, callers_too: bool = False) -> None:
        self._callers_too = callers_too
        self.context = context
        self.tree = context.tree
        self._modules = ModuleExpressions(context.names)
        self._seen: set[ast.AST] = set()

    def around(self, node: ast.AST) -> Iterator[ast.Call | None]:
        """The calls that build what holds a node."""
        owner = self._owner(node)
        if isinstance(owner, ast.ClassDef):
            yield from self.of_class(owner)
        elif not isinstance(node, ast.expr):
            yield None
        else:
            holder = holder_of(self.context.names, node)
            if isinstance(owner, Function) and (
                self._is_given_to_classes(owner, holder)
                or (self._callers_too and self._is_returned(owner, holder))
            ):
                yield from self._of_uses(owner)
            else:
                yield self._built_here(holder)

    def of_class(self, owner: ast.ClassDef) -> Iterator[ast.Call | None]:
        """The calls that build what holds an instance of a class."""
        if owner.decorator_list or not self._modules.is_module_class(owner):
            yield None
        yield from self._of_uses(owner)

    def _of_uses(
        self, definition: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    ) -> Iterator[ast.Call | None]:
        if definition in self._seen:
            return
        self._seen.add(definition)
        is_of_module = self.context.names.scopes.scope_of(definition) is self.tree.module
        if is_of_module and definition.name in self.context.names.index.uses.named:
            yield None
        uses = [
            use
            for use in self.tree.occurrences(definition.name)
            if isinstance(use, ast.Name) and isinstance(use.ctx, ast.Load)
        ]
        if not any(self._is_called(use) for use in uses):
            yield None
        for use in uses:
            yield from self._of_use(use)

    def _of_use(self, use: ast.Name) -> Iterator[ast.Call | None]:
        above = self.tree.parents.get(use)
        if isinstance(above, ast.Call) and above.func is use:
            owner = self._owner(above)
            if isinstance(owner, ast.ClassDef):
                yield from self.of_class(owner)
            elif owner is not None and self._is_given_to_classes(owner, above):
                yield from self._of_uses(owner)
            else:
                yield above
        elif isinstance(above, ast.ClassDef):
            yield from self.of_class(above)
        elif isinstance(above, ast.Attribute) and _BUILDS.match(above.attr):
            call = self.tree.parents.get(above)
            yield call if isinstance(call, ast.Call) and call.func is above else None
        elif not self._is_harmless(use, above):
            yield None

    def _is_called(self, use: ast.Name) -> bool:
        above = self.tree.parents.get(use)
        if isinstance(above, ast.Attribute):
            return bool(_BUILDS.match(above.attr))
        return isinstance(above, ast.ClassDef) or (
            isinstance(above, ast.Call) and above.func is use
        )

    def _is_harmless(self, use: ast.Name, above: ast.AST | None) -> bool:
        """Whether a class is only tested for, named in an annotation or handed to ``super``."""
        if isinstance(above, ast.Call):
            callee = self.context.names.qualified(above.func)
            return callee == "builtins.super" or callee in _TESTS
        for outer in (use, *self.tree.ancestors(use)):
            holder = self.tree.parents.get(outer)
            if isinstance(holder, (ast.arg, ast.AnnAssign)) and holder.annotation is outer:
                return True
            if isinstance(holder, Function):
                return holder.returns is outer
            if isinstance(holder, ast.stmt):
                return False
        return False

    def _owner(self, node: ast.AST) -> Definition | None:
        """The class around a node, or else the function."""
        around = [a for a in self.tree.ancestors(node) if isinstance(a, (ast.ClassDef, *Function))]
        owners = [above for above in around if isinstance(above, ast.ClassDef)]
        return next(iter((*owners, *around[-1:])), None)

    def _is_given_to_classes(self, function: Definition, holder: ast.expr) -> bool:
        """Whether a function gives what it builds to classes of the file: a block of theirs."""
        return kept_in(self.context.names, holder) is None and any(
            self._is_called(use) and isinstance(self._owner(use), ast.ClassDef)
            for use in self.tree.occurrences(function.name)
            if isinstance(use, ast.Name)
        )

    def _is_returned(self, function: Definition, holder: ast.expr) -> bool:
        """Whether a function gives back what it builds, at once or by a variable."""
        place = kept_in(self.context.names, holder)
        returned = [n.value for n in self.tree.walk_below(function) if isinstance(n, ast.Return)]
        return holder in returned or (
            place is not None
            and any(value is not None and ast.unparse(value) == place.target for value in returned)
        )

    def _built_here(self, holder: ast.expr) -> ast.Call | None:
        """The model that a holder is, if it is kept or returned as it stands."""
        if not isinstance(holder, ast.Call) or not self._modules.is_module(holder):
            return None
        kept = kept_in(self.context.names, holder) is not None
        return holder if kept or isinstance(self.tree.parents.get(holder), ast.Return) else None
