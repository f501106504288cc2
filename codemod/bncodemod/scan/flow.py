"""Where a class that is used as a value goes in its file: called, tested as a class, handed away.

Functions, tuples and dicts are followed as if they were what they hold: a class in a table that is
indexed and called is a class that is called.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from bncodemod.scan.names import Names
from bncodemod.scan.parameters import fields, parameters
from bncodemod.scan.scopes import Function


class Need(Enum):
    """Why a value has to stay a class."""

    INSTANCE_TEST = "isinstance needs a class"
    SUBCLASS = "it is a base class"
    IDENTITY = "it is compared by identity"
    ATTRIBUTE = "an attribute of the class is read"
    REGISTRY = "it is handed to code that may need a class"
    TYPE = "it stands in a type expression"
    METHOD = "it becomes an attribute of a class, where a function would be bound as a method"
    FLAG_BY_POSITION = "a call passes track_running_stats by position"
    UNKNOWN = "it goes where it cannot be followed"
    ELSEWHERE = "it is stored where other files may use it as a class"


@dataclass(frozen=True, slots=True)
class Demand:
    """A use that works with a class only."""

    node: ast.AST
    need: Need


@dataclass(slots=True)
class Flow:
    """The uses of one value in its file."""

    calls: list[ast.Call] = field(default_factory=list)
    demands: list[Demand] = field(default_factory=list)
    escapes: list[ast.AST] = field(default_factory=list)
    class_attributes: list[ast.Name] = field(default_factory=list)
    unwrapped: bool = False
    """Whether some use reads ``.func``: it expects that the value may be a partial."""


_CLASS_CALLEE = re.compile(
    r"regist|isinstance|issubclass|find|filter|exclu|skip|convert|replace|swap|count|patch|policy"
    r"|getsource|getmodule|isclass|hasattr|named_modules|_types?$|^type$|modules_of|^assert|^__",
    re.IGNORECASE,
)
_CLASS_KEYWORD = re.compile(r"class(?:es)?(?:_|$)|_cls$|^cls$|types?$|kinds?$", re.IGNORECASE)
_SET_METHODS = frozenset(
    {"issubset", "issuperset", "isdisjoint", "intersection", "union", "difference", "index"}
)
_KEYED_METHODS = frozenset({"get", "pop", "setdefault"})
_CONTAINER_METHODS = frozenset({"get", "pop", "setdefault", "values", "items", "copy"})
_CONTAINER_ADDS = frozenset({"append", "add", "insert", "extend", "update"})
# Parents that neither keep a value nor care what it is.
_HARMLESS = (
    ast.Assert,
    ast.Expr,
    ast.FormattedValue,
    ast.If,
    ast.Lambda,
    ast.UnaryOp,
    ast.While,
)
_CONTAINER_CALLS = frozenset({"dict", "list", "tuple", "set", "frozenset", "zip", "enumerate"})
_PARTIAL_ATTRIBUTES = frozenset({"func", "args", "keywords"})
_TYPE_CALLS = frozenset(
    {
        "builtins.type",
        "inspect.isclass",
        "typing.NewType",
        "typing.TypeVar",
        "typing.cast",
        "typing_extensions.TypeVar",
    }
)


def trace(names: Names, node: ast.expr) -> Flow:
    """Follow the value of an expression to its uses."""
    tracer = _Tracer(names)
    tracer.add(node)
    while tracer.pending:
        tracer.step(tracer.pending.pop())
    return tracer.flow


def trace_target(names: Names, target: ast.expr, value: ast.expr) -> Flow:
    """Follow a value to its uses through one of the targets it is assigned to."""
    tracer = _Tracer(names)
    tracer.bind(target, value)
    while tracer.pending:
        tracer.step(tracer.pending.pop())
    return tracer.flow


class _Tracer:
    def __init__(self, names: Names) -> None:
        self.names = names
        self.tree = names.tree
        self.flow = Flow()
        self.pending: list[ast.AST] = []
        self._seen: set[ast.AST] = set()

    def add(self, node: ast.AST) -> None:
        if node not in self._seen:
            self._seen.add(node)
            self.pending.append(node)

    def step(self, node: ast.AST) -> None:
        above = self.tree.parents.get(node)
        handler = _HANDLERS.get(type(above))
        if handler is not None:
            handler(self, above, node)
        elif not isinstance(above, _HARMLESS):
            self.demand(node, Need.UNKNOWN)

    def demand(self, node: ast.AST, need: Need) -> None:
        self.flow.demands.append(Demand(node, need))

    # One method a kind of parent; ``node`` is the value that stands in it.

    def on_call(self, call: ast.Call, node: ast.AST) -> None:
        if node is call.func:
            self.flow.calls.append(call)
        else:
            self.argument(call, node, call.args.index(node) if node in call.args else None, "")

    def on_keyword(self, keyword: ast.keyword, node: ast.AST) -> None:
        call = self.tree.parent(keyword)
        if isinstance(call, ast.Call):
            self.argument(call, call, None, keyword.arg or "")
        else:
            self.demand(keyword, Need.REGISTRY)  # class C(Base, norm=nn.BatchNorm2d)

    def argument(self, call: ast.Call, node: ast.AST, position: int | None, keyword: str) -> None:
        callee = self.names.qualified(call.func)
        if callee in ("builtins.isinstance", "builtins.issubclass"):
            if position == 1 or callee.endswith("issubclass") or self._asks_for_type(call):
                self.demand(call, Need.INSTANCE_TEST)
        elif callee == "builtins.callable":
            return
        elif callee == "functools.partial":
            self.partial_argument(call, position, keyword)
        elif callee == "builtins.type" and len(call.args) > 1:
            self.demand(call, Need.REGISTRY)
        elif callee == "builtins.super":
            self.demand(call, Need.SUBCLASS)
        elif callee in _TYPE_CALLS:
            self.demand(call, Need.TYPE)
        elif callee == "types.SimpleNamespace" and keyword:
            self._attribute_loads(keyword)
        elif callee == "builtins.getattr" and position == 2:
            self.add(call)
        elif callee == "builtins.setattr" and len(call.args) == 3:
            self._attribute_loads(_constant(call.args[1]))
            if not (isinstance(call.args[0], ast.Name) and call.args[0].id == "self"):
                self.demand(call, Need.ELSEWHERE)
        elif callee.startswith("builtins.") and callee[9:] in _CONTAINER_CALLS:
            self.add(call)
        elif self._is_key(call, position):
            self.demand(call, Need.IDENTITY)
        elif isinstance(call.func, ast.Attribute) and call.func.attr in _CONTAINER_METHODS:
            self.add(call)
            self._container(call.func.value)
        elif isinstance(call.func, ast.Attribute) and call.func.attr in _CONTAINER_ADDS:
            self._container(call.func.value)
        elif not self._into_parameter(call, position, keyword):
            self.flow.escapes.append(call)
            if _CLASS_CALLEE.search(_last_names(call.func)) or _CLASS_KEYWORD.search(keyword):
                self.demand(call, Need.REGISTRY)

    def partial_argument(self, call: ast.Call, position: int | None, keyword: str) -> None:
        """An argument that a partial holds for the function that it wraps."""
        if position == 0:
            return
        wrapped = ast.Call(call.args[0], [], [])
        place = None if position is None else position - 1
        if not self._into_parameter(wrapped, place, keyword):
            self.flow.escapes.append(call)
            if _CLASS_KEYWORD.search(keyword):
                self.demand(call, Need.REGISTRY)

    def _is_key(self, call: ast.Call, position: int | None) -> bool:
        """Whether an argument is what a method looks up: ``table.get(nn.BatchNorm2d)``."""
        if not isinstance(call.func, ast.Attribute) or position is None:
            return False
        name = call.func.attr
        return name in _SET_METHODS or (name in _KEYED_METHODS and position == 0)

    def on_through(self, above: ast.AST, node: ast.AST) -> None:
        """The parent has the value of the node, or holds it."""
        if isinstance(above, ast.IfExp) and node is above.test:
            return
        self.add(above)

    def on_dict(self, above: ast.Dict, node: ast.AST) -> None:
        if node in above.values:
            self.add(above)

    def on_subscript(self, above: ast.Subscript, node: ast.AST) -> None:
        if node is not above.value:
            self.demand(above, Need.TYPE)
        elif isinstance(above.ctx, ast.Load):
            self.add(above)

    def on_assign(self, above: ast.AST, node: ast.AST) -> None:
        targets = above.targets if isinstance(above, ast.Assign) else [above.target]  # type: ignore[attr-defined]
        if isinstance(above, ast.AnnAssign) and node is above.annotation:
            self.demand(node, Need.TYPE)
            return
        if node in targets:
            return
        for target in targets:
            self.bind(target, node)
        if isinstance(above, ast.NamedExpr):
            self.add(above)

    def on_loop(self, above: ast.For | ast.AsyncFor | ast.comprehension, node: ast.AST) -> None:
        if node is above.iter:
            self.bind(above.target, node)

    def on_arguments(self, above: ast.arguments, node: ast.AST) -> None:
        for argument in (*above.posonlyargs, *above.args, *above.kwonlyargs):
            if self.names.scopes.default(argument) is node:
                self._variable(argument.arg, argument)

    def on_return(self, above: ast.AST, node: ast.AST) -> None:
        scope = self.names.scopes.scope_of(above)
        if isinstance(scope, Function):
            if scope.decorator_list:  # a property is read, not called
                self._attribute_loads(scope.name)
            for use in self.tree.occurrences(scope.name):
                if isinstance(use, (ast.Name, ast.Attribute)) and isinstance(use.ctx, ast.Load):
                    call = self.tree.parents.get(use)
                    if isinstance(call, ast.Call) and use is call.func:
                        self.add(call)
            self.flow.escapes.append(above)

    def on_compare(self, above: ast.Compare, node: ast.AST) -> None:
        if isinstance(above.ops[-1], (ast.In, ast.NotIn)) and node is above.comparators[-1]:
            if self._is_table(node):
                return  # its keys are asked for
        sides = [above.left, *above.comparators]
        if not all(isinstance(s, (ast.Constant, ast.JoinedStr)) for s in sides if s is not node):
            self.demand(above, Need.IDENTITY)

    def on_attribute(self, above: ast.Attribute, node: ast.AST) -> None:
        call = self.tree.parents.get(above)
        if above.attr in _PARTIAL_ATTRIBUTES:
            self.flow.unwrapped = True
        elif isinstance(call, ast.Call) and above is call.func and above.attr in _CONTAINER_METHODS:
            self.add(call)
        elif not (above.attr in (*_CONTAINER_ADDS, "keys") and isinstance(call, ast.Call)):
            self.demand(above, Need.ATTRIBUTE)

    def on_class(self, above: ast.ClassDef, node: ast.AST) -> None:
        self.demand(above, Need.SUBCLASS if node in above.bases else Need.REGISTRY)

    def on_argument(self, above: ast.arg, node: ast.AST) -> None:
        self.demand(node, Need.TYPE)

    def on_function(self, above: ast.FunctionDef | ast.AsyncFunctionDef, node: ast.AST) -> None:
        self.demand(node, Need.TYPE if node is above.returns else Need.REGISTRY)

    def on_operator(self, above: ast.BinOp, node: ast.AST) -> None:
        if isinstance(above.op, (ast.Add, ast.Mult)):
            self.add(above)  # [nn.BatchNorm2d] * 2, or a list and another
        else:
            self.demand(above, Need.TYPE if isinstance(above.op, ast.BitOr) else Need.IDENTITY)

    def on_type(self, above: ast.AST, node: ast.AST) -> None:
        self.demand(above, Need.TYPE)

    def bind(self, target: ast.AST, value: ast.AST) -> None:
        """Follow what is read from an assignment's target."""
        if isinstance(target, ast.Name):
            self._variable(target.id, target)
            if isinstance(self.names.scopes.binding_target_scope(target), ast.ClassDef):
                self.flow.class_attributes.append(target)
        elif isinstance(target, ast.Attribute):
            self._attribute_loads(target.attr)
            if isinstance(target.value, ast.Name) and target.value.id == "cls":
                self.demand(target, Need.METHOD)
            elif not (isinstance(target.value, ast.Name) and target.value.id == "self"):
                self.flow.escapes.append(target)
                self.demand(target, Need.ELSEWHERE)
        elif isinstance(target, ast.Subscript):
            self._container(target.value)
        elif isinstance(target, (ast.Tuple, ast.List)):
            for element in target.elts:
                self.bind(element, value)
        elif isinstance(target, ast.Starred):
            self.bind(target.value, value)

    def _variable(self, name: str, node: ast.AST) -> None:
        """Every read of the variable that ``node`` binds."""
        scope = self.names.scopes.binding_target_scope(node)
        is_function = isinstance(scope, (ast.Lambda, *Function))
        for use in self.tree.occurrences(name, scope if is_function else None):
            if isinstance(use, ast.Name) and isinstance(use.ctx, ast.Load):
                reaching = self.names.scopes.reaching(use) or []
                if any(binding.node is node for binding in reaching):
                    self.add(use)
        if isinstance(scope, ast.ClassDef):
            self._attribute_loads(name)

    def _attribute_loads(self, attribute: str) -> None:
        for use in self.tree.occurrences(attribute) if attribute else ():
            if isinstance(use, ast.Attribute) and isinstance(use.ctx, ast.Load):
                self.add(use)

    def _container(self, container: ast.AST) -> None:
        if isinstance(container, ast.Attribute):
            self._attribute_loads(container.attr)
        elif isinstance(container, ast.Name):
            for binding in self.names.scopes.reaching(container) or []:
                self._variable(container.id, binding.node)

    def _into_parameter(self, call: ast.Call, position: int | None, keyword: str) -> bool:
        """Follow an argument into the function or class of this file that takes it."""
        followed = False
        for definition in self._definitions(call.func):
            self.tree.expand(definition)
            for parameter in parameters(definition, call, position, keyword):
                self._variable(parameter.arg, parameter)
                followed = True
            for name in fields(definition, position, keyword):
                self._attribute_loads(name)
                followed = True
        return followed

    def _definitions(self, func: ast.expr) -> list[ast.AST]:
        """The functions and classes of this file that a call may reach, methods by their name."""
        found = [m.definition for m in self.names.meanings(func) if m.definition is not None]
        if not found and isinstance(func, ast.Attribute) and not self.names.qualified(func):
            found = [n for n in self.tree.occurrences(func.attr) if isinstance(n, Function)]
        return found

    def _is_table(self, node: ast.AST) -> bool:
        """Whether a variable is bound to nothing but dict literals."""
        if not isinstance(node, ast.Name):
            return False
        bindings = self.names.scopes.reaching(node) or []
        return bool(bindings) and all(isinstance(b.value, ast.Dict) for b in bindings)

    def _asks_for_type(self, call: ast.Call) -> bool:
        """Whether ``isinstance(value, type)`` asks if the value is a class."""
        if len(call.args) < 2:
            return False
        asked = call.args[1].elts if isinstance(call.args[1], ast.Tuple) else [call.args[1]]
        asked_names = {self.names.qualified(a) for a in asked}
        return "builtins.type" in asked_names and "functools.partial" not in asked_names


_HANDLERS: dict[type, Callable[[_Tracer, Any, ast.AST], None]] = {
    ast.Call: _Tracer.on_call,
    ast.keyword: _Tracer.on_keyword,
    ast.IfExp: _Tracer.on_through,
    ast.BoolOp: _Tracer.on_through,
    ast.Tuple: _Tracer.on_through,
    ast.List: _Tracer.on_through,
    ast.Set: _Tracer.on_through,
    ast.Starred: _Tracer.on_through,
    ast.Await: _Tracer.on_through,
    ast.ListComp: _Tracer.on_through,
    ast.SetComp: _Tracer.on_through,
    ast.GeneratorExp: _Tracer.on_through,
    ast.DictComp: _Tracer.on_through,
    ast.Dict: _Tracer.on_dict,
    ast.Subscript: _Tracer.on_subscript,
    ast.Assign: _Tracer.on_assign,
    ast.AnnAssign: _Tracer.on_assign,
    ast.NamedExpr: _Tracer.on_assign,
    ast.For: _Tracer.on_loop,
    ast.AsyncFor: _Tracer.on_loop,
    ast.comprehension: _Tracer.on_loop,
    ast.arguments: _Tracer.on_arguments,
    ast.Return: _Tracer.on_return,
    ast.Yield: _Tracer.on_return,
    ast.Compare: _Tracer.on_compare,
    ast.Attribute: _Tracer.on_attribute,
    ast.ClassDef: _Tracer.on_class,
    ast.BinOp: _Tracer.on_operator,
    ast.ExceptHandler: _Tracer.on_type,
    ast.MatchClass: _Tracer.on_type,
    ast.MatchValue: _Tracer.on_type,
    ast.AugAssign: _Tracer.on_assign,
    ast.arg: _Tracer.on_argument,
    ast.FunctionDef: _Tracer.on_function,
    ast.AsyncFunctionDef: _Tracer.on_function,
}


def _last_names(node: ast.AST) -> str:
    """The last name of a dotted expression, with the one before it: ``patch.object``."""
    if isinstance(node, ast.Attribute):
        before = node.value
        last = before.attr if isinstance(before, ast.Attribute) else getattr(before, "id", "")
        return f"{node.attr} {last}"
    return node.id if isinstance(node, ast.Name) else ""


def _constant(node: ast.AST) -> str:
    value = node.value if isinstance(node, ast.Constant) else ""
    return value if isinstance(value, str) else ""
