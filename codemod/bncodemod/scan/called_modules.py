"""Which modules a function calls, as expressions: what runs when it is called under a transform."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

from bncodemod.catalog.tensor_methods import METHODS
from bncodemod.scan.callers import handed_to, is_handed_around
from bncodemod.scan.libraries import argument
from bncodemod.scan.model_places import COPIES
from bncodemod.scan.module_expressions import ModuleExpressions, is_self
from bncodemod.scan.names import Names
from bncodemod.scan.scopes import Binding, BindingKind, Function, own_method
from bncodemod.scan.transforms import Transformed, Transforms
from bncodemod.source.dotted_names import last_name

FUNCTIONAL_CALLS = frozenset(
    {
        "torch.func.functional_call",
        "torch.nn.utils.stateless.functional_call",
        "functorch.functional_call",
    }
)
# Methods of an object that is not known, by which no model runs.
_QUIET_METHODS = METHODS.union(dir(dict), dir(list), dir(set), dir(str))
# So many calls are followed from one function: it is not known what else it calls.
_MAX_STEPS = 300
# What a function that is differentiated calls beside the model, by its name.
_NO_MODEL = re.compile(
    r"(?:^|_)(?:loss|criterion|metric|cost|reward|act|activation|nonlinearity|reduction)"
    r"(?:_?(?:fn|func|function))?\d*$",
    re.IGNORECASE,
)
# What gives no model that is called afterwards, but for these functions of it.
_GIVE_NO_MODEL = frozenset({"torch", "numpy", *sys.stdlib_module_names})
_MAY_GIVE_MODEL = frozenset(
    {"torch.load", "torch.jit.load", "torch.jit.trace", "builtins.getattr", "builtins.next"}
)


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """A call of the file that hands a function of it ``value``, by which it runs ``modules``."""

    call: ast.Call
    value: ast.expr
    modules: tuple[ast.expr, ...]


@dataclass(slots=True)
class Called:
    """What is called: ``modules`` by expression, and the functions of the file that were followed.

    ``given`` are modules that run by functions which are handed in, for the calls that do so.
    ``unseen`` is what is called and may be a model, or run one, for all that the file shows.
    ``taken`` are the parameters of functions that are called, be they modules or not.
    ``parameters`` tells of a functional call that gets its parameters as an argument of the
    function around it: what is differentiated may be differentiated by them.
    """

    modules: list[ast.expr] = field(default_factory=list)
    functions: list[ast.AST] = field(default_factory=list)
    given: list[Given] = field(default_factory=list)
    unseen: list[ast.expr] = field(default_factory=list)
    taken: list[ast.Name] = field(default_factory=list)
    parameters: bool = False

    @property
    def all_modules(self) -> list[ast.expr]:
        """The modules, also of the functions that are handed in."""
        return [*self.modules, *(module for given in self.given for module in given.modules)]


class CalledModules(ModuleExpressions):
    """Finds the modules that functions of one file call."""

    def __init__(self, names: Names, transforms: Transforms) -> None:
        super().__init__(names)
        self.transforms = transforms
        self._followed: set[ast.AST] = set()
        self._steps = 0

    def of(self, function: ast.AST) -> Called:
        """The modules that a call of ``function`` calls, itself or by functions of the file."""
        found = Called()
        self._steps = 0
        self._callee(function, found)
        return found

    def may_run_in(self, transformed: Transformed) -> bool:
        """Whether a call of a transformed function may run a module."""
        function = transformed.function
        if isinstance(function, ast.expr) and self.names.qualified(function) in FUNCTIONAL_CALLS:
            return True
        called = self.of(function)
        return bool(called.modules or called.given or called.unseen)

    def _callee(self, function: ast.AST, found: Called) -> None:
        """Note what a call of an expression or definition calls."""
        function = self.transforms.inner(function)
        self._steps += 1
        if self._steps > _MAX_STEPS:
            if isinstance(function, ast.expr) and not found.unseen:
                found.unseen.append(function)
            return
        if isinstance(function, (ast.Lambda, *Function)):
            self._body(function, found)
        elif isinstance(function, ast.Call):
            self._called_value(function, function, found)
        elif isinstance(function, ast.Attribute):
            self._attribute(function, found)
        elif isinstance(function, ast.IfExp):
            self._callee(function.body, found)
            self._callee(function.orelse, found)
        elif isinstance(function, (ast.Name, ast.Subscript)):
            definitions = [m.definition for m in self.names.meanings(function) if m.definition]
            for definition in definitions:
                if isinstance(definition, (ast.Lambda, *Function)):
                    self._body(definition, found)
            if not definitions:
                self._variable(function, found)

    def _variable(self, node: ast.expr, found: Called) -> None:
        """A variable that is called: a module, or a function that it holds or is handed."""
        is_module = self.is_module(node)
        if is_module:
            found.modules.append(node)
        if not isinstance(node, ast.Name):
            if not is_module:
                found.unseen.append(node)
            return
        for binding in self.names.scopes.reaching(node) or ():
            if binding.kind is BindingKind.PARAMETER:
                self._parameter(node, binding, found, is_module)
            elif not is_module and binding.node not in self._followed:
                self._followed.add(binding.node)  # a variable that is made of itself
                self._bound(node, binding, found)
                self._followed.discard(binding.node)

    def _bound(self, node: ast.Name, binding: Binding, found: Called) -> None:
        """What is called is what a binding gives, evidently no module."""
        value = binding.value
        if binding.kind is BindingKind.VALUE:
            if isinstance(value, ast.Call):
                self._called_value(value, node, found)
            elif value is not None:
                self._callee(value, found)
        elif binding.kind is BindingKind.ELEMENT:
            held = self.looped_over(binding)
            if isinstance(held, (ast.List, ast.Tuple)):
                for element in held.elts:
                    self._callee(element, found)
            elif not (isinstance(value, ast.Call) and self._gives_no_model(value)):
                found.unseen.append(node)

    def _parameter(self, node: ast.Name, binding: Binding, found: Called, is_module: bool) -> None:
        """A parameter that is called: the functions that it is given."""
        parameter = binding.node
        function = self.tree.parent(self.tree.parent(parameter))
        if parameter in self._followed:
            return
        self._followed.add(parameter)
        is_own = function in found.functions[:1]  # what is transformed: it gets tensors
        default = binding.value
        if not is_module and isinstance(default, ast.expr):
            if self.is_module(default):
                found.modules.append(node if isinstance(function, Function) else default)
            else:
                self._callee(default, found)
        if isinstance(function, Function) and not is_own:
            found.taken.append(node)
            is_called = self._given_functions(parameter, found, is_module)
            uses = self.tree.occurrences(function.name)
            if not is_module and not (
                is_called and not any(is_handed_around(self.tree, use) for use in uses)
            ):
                found.unseen.append(node)
        self._followed.discard(parameter)

    def _given_functions(self, parameter: ast.AST, found: Called, is_module: bool) -> bool:
        """Follow what the calls of the file hand to a parameter; whether there are any."""
        handed = handed_to(self.tree, parameter)
        for call, value in handed.items():
            if value is None:
                continue
            inner = Called()
            self._callee(value, inner)
            found.functions += inner.functions
            found.given += inner.given
            found.taken += inner.taken
            found.parameters |= inner.parameters
            if not is_module:
                found.unseen += inner.unseen
            if inner.modules and not self.is_module(value):
                found.given.append(Given(call, value, tuple(inner.modules)))
        return bool(handed)

    def _called_value(self, value: ast.Call, shown: ast.expr, found: Called) -> None:
        """What a call gives is called: a partial, a module, a function that another one makes."""
        qualified = self.names.qualified(value.func)
        definitions = [m.definition for m in self.names.meanings(value.func) if m.definition]
        if qualified == "functools.partial" and value.args:
            if self.names.qualified(value.args[0]) in FUNCTIONAL_CALLS:
                self._functional_call(value, found, skip=1)
            else:
                self._callee(value.args[0], found)
        elif self.builds_module(value):
            found.modules.append(value)
        elif qualified in COPIES and value.args:
            self._callee(value.args[0], found)
        elif definitions:
            for definition in definitions:
                self._made_by(definition, shown, found)
        elif not self._gives_no_model(value):
            found.unseen.append(shown)

    def _made_by(self, definition: ast.AST, shown: ast.expr, found: Called) -> None:
        """What a function of the file returns is called, or an object of one of its classes."""
        if isinstance(definition, ast.ClassDef):
            method = own_method(definition, "__call__")
            if method is not None:
                self._body(method, found)
            else:
                found.unseen.append(shown)
        elif definition not in self._followed:
            self._followed.add(definition)
            for value in self._returned(definition):
                self._callee(value, found)
            self._followed.discard(definition)

    def _returned(self, function: ast.AST) -> Iterator[ast.expr]:
        """What a function gives back."""
        if isinstance(function, ast.Lambda):
            yield function.body
        for node in self.tree.walk_below(function):
            if isinstance(node, ast.Return) and node.value is not None:
                if self.names.scopes.scope_of(node) is function:
                    yield node.value

    def _attribute(self, node: ast.Attribute, found: Called) -> None:
        """``model.forward``, ``self.method``, ``self.net`` or ``model.features``."""
        owner = self.class_around(node)
        if node.attr in ("forward", "__call__"):
            self._forward(node.value, found)
        elif owner is not None and is_self(node.value):
            self._attribute_of_self(node, owner, found)
        elif self.is_module(node.value):
            self._variable(node.value, found)
        elif self.is_module(node):
            found.modules.append(node)
        elif not self.names.qualified(node) and node.attr not in _QUIET_METHODS:
            self._method(node, found)

    def _forward(self, module: ast.expr, found: Called) -> None:
        """A method that is called as a module's: whatever has it is taken for one."""
        bindings = self.names.scopes.reaching(module) if isinstance(module, ast.Name) else None
        if is_self(module) or self.is_module(module):
            self._variable(module, found)
        elif isinstance(module, ast.Call) and ast.unparse(module.func) == "super":
            return  # the class around is a module
        elif not self.names.qualified(module) and not any(
            b.kind is BindingKind.DEFINITION for b in bindings or ()
        ):
            found.modules.append(module)

    def _attribute_of_self(self, node: ast.Attribute, owner: ast.ClassDef, found: Called) -> None:
        method = own_method(owner, node.attr)
        if method is not None:
            self._body(method, found)
            return
        if self.is_module(node):
            found.modules.append(node)
            return
        values = list(self.assigned(node))
        for value in values:
            self._kept(value, node, found)
        if not values:
            self._inherited(node, found)

    def _kept(self, value: ast.AST, node: ast.Attribute, found: Called) -> None:
        """An attribute is called to which a value is assigned: a function, if it is not a module.

        What a parameter is handed comes to it before it is called: it is not followed.
        """
        if isinstance(value, ast.Call):
            self._called_value(value, node, found)
        elif isinstance(value, (ast.Lambda, ast.Name, ast.IfExp)):
            inner = Called()
            self._callee(value, inner)
            found.functions += inner.functions
            found.modules += inner.modules
            if inner.taken or inner.unseen:
                found.unseen.append(node)
        elif not isinstance(value, ast.Constant):
            found.unseen.append(node)

    def _inherited(self, node: ast.Attribute, found: Called) -> None:
        """An attribute of ``self`` is called that the class does not set."""
        if self.is_module(node.value):
            found.modules.append(node.value)
        else:
            found.unseen.append(node)

    def _method(self, node: ast.Attribute, found: Called) -> None:
        """A method is called of an object that is evidently no module."""
        root: ast.expr = node.value
        while isinstance(root, (ast.Attribute, ast.Subscript)):
            root = root.value
        if not isinstance(root, ast.Name):
            return
        owner = self.class_of(node.value)
        method = own_method(owner, node.attr) if owner is not None else None
        if method is not None:
            self._body(method, found)
        elif is_self(root) or any(
            self._may_be_object(binding, found)
            for binding in self.names.scopes.reaching(root) or ()
        ):
            found.unseen.append(node.value)

    def _may_be_object(self, binding: Binding, found: Called) -> bool:
        """Whether a binding may give an object that holds a model; a tensor holds none."""
        if not set(found.functions).isdisjoint(self.tree.ancestors(binding.node)):
            return False  # what the functions compute themselves
        value = binding.value
        if binding.kind is BindingKind.VALUE:
            if isinstance(value, ast.Call):
                return not self._gives_no_model(value)
            return isinstance(value, (ast.Name, ast.Attribute, ast.Subscript))
        if isinstance(value, ast.Call) and self._gives_no_model(value):
            return False
        return binding.kind in (BindingKind.PARAMETER, BindingKind.ELEMENT)

    def _gives_no_model(self, call: ast.Call) -> bool:
        """Whether a call evidently gives a tensor or another value that is no model."""
        if isinstance(call.func, ast.Attribute) and call.func.attr in _QUIET_METHODS:
            return True
        qualified = self.names.qualified(call.func)
        if not qualified or qualified in _MAY_GIVE_MODEL:
            return False
        return qualified.partition(".")[0] in _GIVE_NO_MODEL

    def _body(self, function: ast.AST, found: Called) -> None:
        if function in found.functions:
            return
        found.functions.append(function)
        for node in self.tree.walk_below(function):
            if isinstance(node, ast.Call):
                if self.names.qualified(node.func) in FUNCTIONAL_CALLS:
                    self._functional_call(node, found)
                else:
                    before = len(found.unseen)
                    self._callee(node.func, found)
                    unseen = found.unseen[before:]
                    found.unseen[before:] = [n for n in unseen if not _is_no_model(n)]

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


def _is_no_model(node: ast.expr) -> bool:
    return bool(_NO_MODEL.search(last_name(node)))
