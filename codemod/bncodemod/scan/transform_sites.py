"""The statements of a file that run modules under transforms, and what those modules are."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from bncodemod.scan.called_modules import FUNCTIONAL_CALLS, Called, CalledModules
from bncodemod.scan.callers import is_handed_around
from bncodemod.scan.libraries import argument
from bncodemod.scan.names import Names
from bncodemod.scan.prefilter import may_hold_site
from bncodemod.scan.scopes import BindingKind, Function
from bncodemod.scan.transforms import Transformed, Transforms


@dataclass(frozen=True, slots=True, eq=False)
class Use:
    """A function under transforms that calls modules."""

    transformed: Transformed
    called: Called


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A call that runs such a function, and the modules that it runs.

    Where the ``call`` is that of a function which is handed the one that is transformed, ``given``
    is what hands it in.
    """

    use: Use
    call: ast.Call
    modules: tuple[ast.expr, ...]
    given: ast.expr | None = None

    @property
    def transformed(self) -> ast.expr:
        """The expression in which what runs the modules stands."""
        return self.given or self.use.transformed.node


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """A statement with the calls in it that run modules under transforms.

    There are no ``runs`` where a transformed function is lost sight of: ``modules`` are then what
    it calls, wherever that is. ``beyond`` is a function of another file that runs them, or empty.
    ``unseen`` is what may be a model, or run one, where there are no modules.
    """

    node: ast.AST
    statement: ast.stmt
    runs: tuple[Run, ...]
    modules: tuple[ast.expr, ...]
    beyond: str = ""
    unseen: tuple[ast.expr, ...] = ()

    @property
    def by_text(self) -> dict[str, ast.expr]:
        """The modules by the code that names them."""
        return {ast.unparse(module): module for module in self.modules}


class TransformSites:
    """Finds them in one file."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.tree = names.tree
        self.scopes = names.scopes
        self.transforms = Transforms(names)
        self.modules = CalledModules(names, self.transforms)

    @cached_property
    def uses(self) -> list[Use]:
        """The functions under transforms."""
        return [
            Use(transformed, self.modules.of(transformed.function))
            for transformed in self.transforms.outermost()
        ]

    def sites(self) -> Iterator[Site]:
        """The statements, transforms that are lost sight of, and what is not known under them."""
        # What runs inside of a transformed function is the business of the transform around it.
        inside = {function for use in self.uses for function in use.called.functions}
        statements: dict[ast.stmt, list[Run]] = {}
        for use in self.uses:
            yield from self._lost(use, inside)
            for run in self._runs(use):
                if run.modules and not self._is_inside(run.call, inside):
                    statements.setdefault(self.tree.statement(run.call), []).append(run)
        for statement, runs in sorted(statements.items(), key=lambda item: item[0].lineno):
            node = statement if not hasattr(statement, "body") else runs[0].call
            modules = tuple(module for run in runs for module in run.modules)
            yield Site(node, statement, tuple(runs), modules)
        yield from self._handed_on()

    def _lost(self, use: Use, inside: set[ast.AST]) -> Iterator[Site]:
        """Where a transformed function is lost sight of, and what it may run that is not known."""
        for escape in use.transformed.escapes:
            modules = tuple(filter(self._may_hold_norm, use.called.all_modules))
            if modules and not self._is_inside(escape, inside):
                yield Site(escape, self.tree.statement(escape), (), modules)
        node, function = use.transformed.node, use.transformed.function
        unseen = tuple(each for each in use.called.unseen if not self._is_left_to_callers(each))
        is_decorator = isinstance(function, Function) and node in function.decorator_list
        if unseen and not self._is_inside(function if is_decorator else node, inside):
            yield Site(node, self.tree.statement(node), (), (), unseen=unseen)

    def _runs(self, use: Use) -> Iterator[Run]:
        own, handed = list(use.called.modules), []
        for given in use.called.given:
            if self._is_inside(given.call, {*use.called.functions}):
                own += given.modules  # the function itself hands it on
            else:
                handed.append(given)
        for call in use.transformed.runs:
            modules = self._run_by(call, Use(use.transformed, replace(use.called, modules=own)))
            yield Run(use, call, tuple(filter(self._may_hold_norm, modules)))
        for given in handed if use.transformed.runs else ():
            modules = filter(self._may_hold_norm, given.modules)
            yield Run(use, given.call, tuple(modules), given.value)

    def _is_inside(self, node: ast.AST, functions: set[ast.AST]) -> bool:
        return not functions.isdisjoint(self.tree.ancestors(node))

    def _is_left_to_callers(self, node: ast.expr) -> bool:
        """Whether it is a parameter that other files hand something to: it is judged there."""
        uses = self.names.index.uses
        return uses.is_known and any(
            function.name not in uses.alone for function in owners(self.names, node)
        )

    def _handed_on(self) -> Iterator[Site]:
        """The modules that are handed to functions of other files, which transform them."""
        uses = self.names.index.uses
        for name, place in {**uses.running, **uses.transforming}.items():
            for call in self.calls_of(name, is_own=False):
                given = (*call.args, *(keyword.value for keyword in call.keywords))
                modules = tuple(
                    module
                    for value in given
                    for module in self._given(value, name in uses.transforming)
                )
                if modules:
                    beyond = f"{name} ({place})"
                    yield Site(call, self.tree.statement(call), (), modules, beyond)

    def calls_of(self, name: str, *, is_own: bool) -> Iterator[ast.Call]:
        """The calls of functions of a name: other files', or this one's."""
        for node in self.tree.occurrences(name):
            call = self.tree.parents.get(node)
            if isinstance(call, ast.Call) and call.func is node:
                if self._is_own_function(call) is is_own:
                    yield call

    def unfollowed_calls(self) -> Iterator[ast.AST]:
        """Where other files' functions, which transform what they get, get what is not known.

        Those that take it for a module see to its mode themselves.
        """
        for name in self.names.index.uses.transforming:
            for node in self.tree.occurrences(name):
                call = self.tree.parents.get(node)
                if isinstance(call, ast.Call) and call.func is node:
                    if not self._is_known(call) and not self._is_own_function(call):
                        yield call
                elif is_handed_around(self.tree, node) and self._is_imported(node):
                    yield node
            self.tree.expand_imports()
            yield from (a for a in self.tree.of_type(ast.alias) if a.name == name and a.asname)

    def _is_known(self, call: ast.Call) -> bool:
        """Whether it is known what a call hands on: a module, or functions of this file."""
        for value in (*call.args, *(keyword.value for keyword in call.keywords)):
            if self.modules.is_module(value):
                return True
            called = self.modules.of(value)
            if (called.functions or called.all_modules) and not called.unseen:
                return True
        return False

    def _is_imported(self, node: ast.AST) -> bool:
        root = node
        while isinstance(root, ast.Attribute):
            root = root.value
        bindings = self.scopes.reaching(root) if isinstance(root, ast.Name) else None
        return any(binding.kind is BindingKind.IMPORT for binding in bindings or ())

    def _given(self, value: ast.expr, may_be_module: bool) -> Iterator[ast.expr]:
        """The modules that an argument is, or runs as a function."""
        if not self.modules.is_module(value):
            yield from filter(self._may_hold_norm, self.modules.of(value).all_modules)
        elif may_be_module and self._may_hold_norm(value):
            yield value

    def _is_own_function(self, call: ast.Call) -> bool:
        return any(m.definition is not None for m in self.names.meanings(call.func))

    def is_followed(self, use: Use) -> bool:
        """Whether it is known what a transformed function calls."""
        function, called = use.transformed.function, use.called
        if called.unseen:
            return False
        return bool(called.modules or called.functions) or (
            isinstance(function, ast.expr) and self.names.qualified(function).startswith("torch.")
        )

    def is_left_to_callers(self, use: Use) -> bool:
        """Whether all that is not followed is what other files hand in: it is judged there."""
        unseen = use.called.unseen
        return bool(unseen) and all(map(self._is_left_to_callers, unseen))

    def _run_by(self, call: ast.Call, use: Use) -> Iterator[ast.expr]:
        """The modules that a call runs: a parameter stands for the argument that it gets."""
        function = use.transformed.function
        if isinstance(function, ast.expr):
            if self.names.qualified(function) in FUNCTIONAL_CALLS:
                module = argument(call, "module", 0)
                if module is not None:
                    yield module
        definitions = set(use.called.functions[:1])
        for module in use.called.modules:
            bindings = self.scopes.reaching(module) if isinstance(module, ast.Name) else None
            given = None
            if bindings and len(bindings) == 1 and isinstance(bindings[0].node, ast.arg):
                parameters = self.tree.parent(bindings[0].node)
                if self.tree.parents.get(parameters) in definitions:
                    assert isinstance(parameters, ast.arguments)
                    names = [a.arg for a in (*parameters.posonlyargs, *parameters.args)]
                    name = bindings[0].node.arg
                    given = argument(call, name, names.index(name) if name in names else None)
            yield given or module

    def _may_hold_norm(self, module: ast.expr) -> bool:
        """Whether a module may hold a norm: one that is made here of what is no norm does not."""
        calls = self.modules.built_by(module)
        if not calls or may_hold_site(self.tree.source.text.encode(), self.names.index):
            return True
        return not all(map(self._is_own, calls))

    def _is_own(self, call: ast.Call) -> bool:
        """Whether a call gives a class of this file or a layer of torch."""
        return all(
            m.definition is not None or m.qualified.startswith("torch.nn.")
            for m in self.names.meanings(call.func)
        )


def owners(names: Names, node: ast.expr) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The functions of which an expression is a parameter."""
    for binding in (names.scopes.reaching(node) or ()) if isinstance(node, ast.Name) else ():
        if binding.kind is BindingKind.PARAMETER:
            function = names.tree.parent(names.tree.parent(binding.node))
            if isinstance(function, Function):
                yield function
