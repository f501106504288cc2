"""Which modules a function calls, as expressions: what runs when it is called under a transform."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from bncodemod.scan.libraries import argument
from bncodemod.scan.module_values import ModuleValues, is_self
from bncodemod.scan.names import Names
from bncodemod.scan.scopes import BindingKind, Function
from bncodemod.scan.transforms import Transformed, Transforms

FUNCTIONAL_CALLS = frozenset(
    {
        "torch.func.functional_call",
        "torch.nn.utils.stateless.functional_call",
        "functorch.functional_call",
    }
)


@dataclass(slots=True)
class Called:
    """What is called: ``modules`` by expression, and the functions of the file that were followed.

    ``is_partial`` says whether other functions may be called that are not seen.
    ``parameters`` tells of a functional call that gets its parameters as an argument of the
    function around it: what is differentiated may be differentiated by them.
    """

    modules: list[ast.expr] = field(default_factory=list)
    functions: list[ast.AST] = field(default_factory=list)
    parameters: bool = False
    is_partial: bool = False


class CalledModules(ModuleValues):
    """Finds the modules that functions of one file call."""

    def __init__(self, names: Names, transforms: Transforms) -> None:
        super().__init__(names)
        self.transforms = transforms

    def of(self, function: ast.AST) -> Called:
        """The modules that a call of ``function`` calls, itself or by functions of the file."""
        found = Called()
        self._callee(function, found)
        return found

    def may_run_in(self, transformed: Transformed) -> bool:
        """Whether a call of a transformed function may run a module."""
        function = transformed.function
        is_functional = (
            isinstance(function, ast.expr) and self.names.qualified(function) in FUNCTIONAL_CALLS
        )
        return is_functional or bool(self.of(function).modules)

    def _callee(self, function: ast.AST, found: Called) -> None:
        """Note what a call of an expression or definition calls."""
        function = self.transforms.inner(function)
        if isinstance(function, (ast.Lambda, *Function)):
            self._body(function, found)
        elif isinstance(function, ast.Call):
            self._called_value(function, found)
        elif isinstance(function, ast.Attribute):
            self._attribute(function, found)
        elif isinstance(function, ast.expr):
            definitions = [m.definition for m in self.names.meanings(function) if m.definition]
            for definition in definitions:
                if isinstance(definition, (ast.Lambda, *Function)):
                    self._body(definition, found)
            if not definitions:
                self._variable(function, found)

    def _variable(self, node: ast.expr, found: Called) -> None:
        """A variable that is called: a module, or a partial that it holds."""
        if self.is_module(node):
            found.modules.append(node)
        elif isinstance(node, ast.Name):
            for binding in self.names.scopes.reaching(node) or ():
                if binding.kind is BindingKind.VALUE and isinstance(binding.value, ast.Call):
                    self._called_value(binding.value, found)
                elif binding.kind is BindingKind.PARAMETER:
                    self._given_functions(binding.node, found)

    def _given_functions(self, parameter: ast.AST, found: Called) -> None:
        """A parameter that is called: the functions that it is given."""
        function = self.tree.parent(self.tree.parent(parameter))
        if not isinstance(function, Function) or parameter in self._asked:
            return
        self._asked.add(parameter)
        try:
            for value in self.handed_to(parameter, function):
                before = len(found.modules)
                if value is not None:
                    self._callee(value, found)
                found.is_partial |= len(found.modules) == before
        finally:
            self._asked.discard(parameter)

    def _called_value(self, value: ast.Call, found: Called) -> None:
        """What a call gives is called: a partial, or a module that is built in place."""
        if self.names.qualified(value.func) == "functools.partial" and value.args:
            if self.names.qualified(value.args[0]) in FUNCTIONAL_CALLS:
                self._functional_call(value, found, skip=1)
            else:
                self._callee(value.args[0], found)
        elif self.builds_module(value):
            found.modules.append(value)

    def _attribute(self, node: ast.Attribute, found: Called) -> None:
        """``model.forward``, ``self.method``, ``self.net`` or ``model.features``."""
        if node.attr in ("forward", "__call__"):
            self._variable(node.value, found)
            return
        owner = self.class_around(node)
        if owner is not None and is_self(node.value):
            for method in owner.body:
                if isinstance(method, Function) and method.name == node.attr:
                    self._body(method, found)
                    return
            if self.is_module(node):
                found.modules.append(node)
        elif self.is_module(node.value):
            found.modules.append(node.value)
        elif self.is_module(node):
            found.modules.append(node)

    def _body(self, function: ast.AST, found: Called) -> None:
        if function in found.functions:
            return
        found.functions.append(function)
        for node in self.tree.walk_below(function):
            if isinstance(node, ast.Call):
                if self.names.qualified(node.func) in FUNCTIONAL_CALLS:
                    self._functional_call(node, found)
                elif isinstance(node.func, (ast.Name, ast.Attribute, ast.Call)):
                    self._callee(node.func, found)

    def _functional_call(self, call: ast.Call, found: Called, skip: int = 0) -> None:
        module = argument(call, "module", 0, skip)
        parameters = argument(call, "parameter_and_buffer_dicts", 1, skip)
        if module is not None:
            found.modules.append(module)
        for node in ast.walk(parameters) if parameters is not None else ():
            if isinstance(node, ast.Name):
                for binding in self.names.scopes.reaching(node) or ():
                    found.parameters |= binding.kind is BindingKind.PARAMETER
        found.parameters |= parameters is None  # a partial: they come as its argument
