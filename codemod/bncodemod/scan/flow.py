"""Where a class that is used as a value goes: called, tested as a class, handed away.

Functions, tuples and dicts are followed as if they were what they hold: a class in a table that is
indexed and called is a class that is called. What leaves the file is looked up in the index.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from bncodemod.catalog.torch import FLAG_POSITION
from bncodemod.scan.callees import (
    asked_types,
    bases_that_take,
    call_of,
    definitions,
    enclosing_classes,
    foreign_bases,
    is_key,
    keyword_of_class,
    may_be_method,
    may_need_class,
)
from bncodemod.scan.comparisons import may_meet_batch_norm
from bncodemod.scan.index import Elsewhere, Exit, ExitKind
from bncodemod.scan.literals import string
from bncodemod.scan.names import Names
from bncodemod.scan.need import Need
from bncodemod.scan.parameters import fields, parameters
from bncodemod.scan.scopes import Function


@dataclass(frozen=True, slots=True)
class Demand:
    """A use that works with a class only.

    ``elsewhere`` is the use if it is in another file, which the value reaches by way of ``node``;
    ``guessed`` says that the file alone does not show it.
    """

    node: ast.AST
    need: Need
    elsewhere: Elsewhere | None = None
    guessed: bool = False


@dataclass(slots=True)
class Flow:
    """The uses of one value.

    ``unwrapped`` says whether some use reads ``.func``: it expects that the value may be a partial.
    ``exits`` are the ways on which it leaves the file, each with what is guessed of it there;
    ``lost`` says whether it goes where not even that can be said, ``unseen_method`` whether that is
    a method of an object whose class no file shows, ``returned`` whether the function
    that it entered from another file gives it back there.
    ``called_elsewhere``: it is called in other files, by the name that this file gives it;
    ``sure_elsewhere``: nothing else can be what those calls call. ``star_calls`` are its calls with
    the ``*args`` of the function that it entered from another file.
    """

    calls: list[ast.Call] = field(default_factory=list)
    demands: list[Demand] = field(default_factory=list)
    escapes: list[ast.AST] = field(default_factory=list)
    exits: dict[Exit, list[Demand]] = field(default_factory=dict)
    class_attributes: list[ast.Name] = field(default_factory=list)
    star_calls: list[ast.Call] = field(default_factory=list)
    unwrapped: bool = False
    lost: bool = False
    unseen_method: bool = False
    returned: bool = False
    called_elsewhere: bool = False
    sure_elsewhere: bool = True

    @property
    def is_built(self) -> bool:
        """Whether something may build a layer of the value."""
        return bool(self.calls or self.escapes or self.called_elsewhere)


_CLASS_TYPE = re.compile(r"\b[tT]ype\[")
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
        "typing.NewType",
        "typing.TypeVar",
        "typing.cast",
        "typing_extensions.TypeVar",
    }
)


def trace(names: Names, *nodes: ast.expr) -> Flow:
    """Follow the value of one expression, or of several that have the same, to its uses."""
    tracer = _Tracer(names)
    for node in nodes:
        tracer.start(node)
    return tracer.followed()


def trace_target(names: Names, target: ast.expr, value: ast.expr) -> Flow:
    """Follow a value to its uses through one of the targets it is assigned to."""
    tracer = _Tracer(names)
    tracer.bind(target, value)
    return tracer.followed()


def trace_variable(
    names: Names, *nodes: ast.AST, key: str = "", entered: ast.AST | None = None
) -> Flow:
    """Follow the value that parameters or variables are bound to at ``nodes``.

    ``key`` is the entry that it is where they are mappings, as ``**kwargs`` is; ``entered`` the
    function of which they are the parameters, if another file calls it.
    """
    tracer = _Tracer(names)
    tracer.entered = entered
    if key:
        tracer.keys.add(key)
    for node in nodes:
        tracer.variable(node.arg if isinstance(node, ast.arg) else node.id, node)  # type: ignore[attr-defined]
    return tracer.followed()


def trace_attribute(names: Names, attribute: str) -> Flow:
    """Follow what is read from an attribute of that name, of whatever object."""
    tracer = _Tracer(names)
    tracer.attribute_loads(attribute)
    return tracer.followed()


class _Tracer:
    def __init__(self, names: Names) -> None:
        self.names = names
        self.tree = names.tree
        self.flow = Flow()
        self.pending: list[ast.AST] = []
        self._seen: set[ast.AST] = set()
        # The function that the value enters from another file.
        self.entered: ast.AST | None = None
        # The calls by which it enters functions of this file, and all that it stands in at first.
        self._entries: dict[ast.AST, list[ast.Call]] = {}
        self._origins: set[ast.AST] = set()
        # The entries under which mappings hold the value: what ``**`` hands on.
        self.keys: set[str] = set()
        self.any_key = False
        self._entered: set[tuple[ast.AST, int | None, str]] = set()

    def start(self, node: ast.AST) -> None:
        """Follow a value from where it stands."""
        self._origins.update(self.tree.ancestors(node))
        self.add(node)

    def add(self, node: ast.AST) -> None:
        if node not in self._seen:
            self._seen.add(node)
            self.pending.append(node)

    def followed(self) -> Flow:
        while self.pending:
            self.step(self.pending.pop())
        for call in self.flow.calls:
            for argument in call.args:
                if isinstance(argument, ast.Starred) and self._reaches_flag(argument, call):
                    self.demand(call, Need.FLAG_BY_STAR)
        return self.flow

    def step(self, node: ast.AST) -> None:
        above = self.tree.parents.get(node)
        handler = _HANDLERS.get(type(above))
        if handler is not None:
            handler(self, above, node)
        elif not isinstance(above, _HARMLESS):
            self.demand(node, Need.UNKNOWN)

    def demand(self, node: ast.AST, need: Need) -> None:
        self.flow.demands.append(Demand(node, need))

    def _reaches_flag(self, star: ast.Starred, call: ast.Call) -> bool:
        """Whether the ``*args`` of a function is filled far enough by who hands it the value."""
        function = self._function_of(star)
        if function is None:
            return False
        if function is self.entered:
            self.flow.star_calls.append(call)
        entries = self._entries.pop(function, [])  # each once, however they call one another
        try:
            return any(_has_many(entry, self._reaches_flag) for entry in entries)
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

    # One method a kind of parent; ``node`` is the value that stands in it.

    def on_call(self, call: ast.Call, node: ast.AST) -> None:
        if node is call.func:
            self.flow.calls.append(call)
        elif self._is_spread(node):
            # A whole ``**kwargs`` is handed on: it is no longer known which entry is looked at.
            self.flow.lost = True
            self.flow.escapes.append(call)
        else:
            self.argument(call, node, call.args.index(node) if node in call.args else None, "")

    def on_keyword(self, keyword: ast.keyword, node: ast.AST) -> None:
        call = self.tree.parent(keyword)
        if isinstance(call, ast.Call) and keyword.arg is None and self.keys:
            for key in sorted(self.keys):
                self.argument(call, call, None, key)
        elif isinstance(call, ast.Call):
            self.argument(call, call, None, keyword.arg or "")
        else:
            self.demand(keyword, Need.REGISTRY)  # class C(Base, norm=nn.BatchNorm2d)

    def argument(self, call: ast.Call, node: ast.AST, position: int | None, keyword: str) -> None:
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
        elif isinstance(call.func, ast.Attribute) and call.func.attr in _CONTAINER_METHODS:
            self.add(call)
            self._container(call.func.value)
        elif isinstance(call.func, ast.Attribute) and call.func.attr in _CONTAINER_ADDS:
            self._container(call.func.value)
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

    def leave(self, node: ast.AST, way: Exit, guess: list[Demand]) -> None:
        """The value leaves the file; what the index does not know is guessed."""
        if way.name:
            self.flow.exits.setdefault(way, guess)
        else:
            self.flow.lost = True
        beyond = self.names.index.beyond.get(way)
        if beyond is None:
            self.flow.demands += guess
            if way.kind is ExitKind.METHOD:
                self.flow.lost = self.flow.unseen_method = True
            if way.kind not in (ExitKind.VARIABLE, ExitKind.ATTRIBUTE):
                self.flow.escapes.append(node)
            return
        self.flow.demands += [Demand(node, d.need, d) for d in beyond.demands]
        self.flow.unwrapped |= beyond.unwrapped
        self.flow.lost |= beyond.escapes
        if beyond.returned:
            self.add(node)
        if beyond.escapes or (beyond.calls and way.kind is not ExitKind.VARIABLE):
            self.flow.escapes.append(node)
        elif beyond.calls:
            self.flow.called_elsewhere = True
            self.flow.sure_elsewhere &= beyond.sure

    def on_through(self, above: ast.AST, node: ast.AST) -> None:
        """The parent has the value of the node, or holds it."""
        if isinstance(above, ast.IfExp) and node is above.test:
            return
        self.add(above)

    def on_dict(self, above: ast.Dict, node: ast.AST) -> None:
        if node not in above.values:
            self.demand(above, Need.IDENTITY)  # what is looked up by its class
            return
        key = above.keys[above.values.index(node)]
        if key is not None and string(key):
            self.keys.add(string(key))
        else:
            self.any_key = True
        self.add(above)

    def on_subscript(self, above: ast.Subscript, node: ast.AST) -> None:
        if node is not above.value:
            self.demand(above, Need.TYPE)
        elif isinstance(above.ctx, ast.Load):
            if self._may_be_under(above.slice):
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
                self.variable(argument.arg, argument)

    def on_return(self, above: ast.AST, node: ast.AST) -> None:
        scope = self.names.scopes.scope_of(above)
        if isinstance(scope, Function):
            if _returns_class(scope):
                self.demand(above, Need.RETURNED)
            if scope is self.entered:
                self.flow.returned = True
                return
            if scope.decorator_list:  # a property is read, not called
                self.attribute_loads(scope.name)
            for use in self.tree.occurrences(scope.name):
                if isinstance(use, (ast.Name, ast.Attribute)) and isinstance(use.ctx, ast.Load):
                    call = self.tree.parents.get(use)
                    if isinstance(call, ast.Call) and use is call.func:
                        if self._returns_to(scope, call):
                            self.add(call)
            of_module = self.tree.parents.get(scope) is self.tree.module
            name = scope.name if of_module and not scope.decorator_list else ""
            self.leave(above, Exit(ExitKind.RESULT, name), [])

    def _returns_to(self, function: ast.AST, call: ast.Call) -> bool:
        """Whether a call gives the value back: where it went in, or if it came from within."""
        entries = self._entries.get(function)
        return entries is None or function in self._origins or call in entries

    def on_compare(self, above: ast.Compare, node: ast.AST) -> None:
        if isinstance(above.ops[-1], (ast.In, ast.NotIn)) and node is above.comparators[-1]:
            if self._is_table(node):
                return  # its keys are asked for
        sides = [above.left, *above.comparators]
        if not all(isinstance(s, (ast.Constant, ast.JoinedStr)) for s in sides if s is not node):
            if may_meet_batch_norm(self.names, above):
                self.demand(above, Need.IDENTITY)

    def on_attribute(self, above: ast.Attribute, node: ast.AST) -> None:
        call = self.tree.parents.get(above)
        if above.attr in _PARTIAL_ATTRIBUTES:
            self.flow.unwrapped = True
        elif isinstance(call, ast.Call) and above is call.func and above.attr in _CONTAINER_METHODS:
            if not call.args or self._may_be_under(call.args[0]):
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
        elif isinstance(above.op, ast.Mod) and node is above.right:
            return  # it is written into a string
        else:
            self.demand(above, Need.TYPE if isinstance(above.op, ast.BitOr) else Need.IDENTITY)

    def on_type(self, above: ast.AST, node: ast.AST) -> None:
        self.demand(above, Need.TYPE)

    def bind(self, target: ast.AST, value: ast.AST) -> None:
        """Follow what is read from an assignment's target."""
        if isinstance(target, ast.Name):
            self.variable(target.id, target)
            if self.names.scopes.binding_target_scope(target) is self.tree.module:
                self.leave(target, Exit(ExitKind.VARIABLE, target.id), [])
            owner = self.names.scopes.binding_target_scope(target)
            if isinstance(owner, ast.ClassDef):
                self.flow.class_attributes.append(target)
                self._inherited(owner, target, target.id)
        elif isinstance(target, ast.Attribute):
            self.attribute_loads(target.attr)
            if isinstance(target.value, ast.Name) and target.value.id == "cls":
                self.demand(target, Need.METHOD)
            elif isinstance(target.value, ast.Name) and target.value.id == "self":
                for owner in enclosing_classes(self.names, target)[:1]:
                    self._inherited(owner, target, target.attr)
            else:
                guess = [Demand(target, Need.ELSEWHERE, guessed=True)]
                name = self.names.qualified(target)
                self.leave(target, Exit(ExitKind.ASSIGNED, name), guess)
        elif isinstance(target, ast.Subscript):
            if string(target.slice):
                self.keys.add(string(target.slice))
            else:
                self.any_key = True
            self._container(target.value)
        elif isinstance(target, (ast.Tuple, ast.List)):
            for element in target.elts:
                self.bind(element, value)
        elif isinstance(target, ast.Starred):
            self.bind(target.value, value)

    def _inherited(self, owner: ast.ClassDef, target: ast.AST, attribute: str) -> None:
        """An attribute of a class, which methods that it inherits may read."""
        for base in foreign_bases(self.names, owner):
            self.leave(target, Exit(ExitKind.ATTRIBUTE, f"{base}.{attribute}"), [])

    def variable(self, name: str, node: ast.AST) -> None:
        """Every read of the variable that ``node`` binds."""
        scope = self.names.scopes.binding_target_scope(node)
        is_function = isinstance(scope, (ast.Lambda, *Function))
        for use in self.tree.occurrences(name, scope if is_function else None):
            if isinstance(use, ast.Name) and isinstance(use.ctx, ast.Load):
                reaching = self.names.scopes.reaching(use) or []
                if any(binding.node is node for binding in reaching):
                    self.add(use)
        if isinstance(scope, ast.ClassDef):
            self.attribute_loads(name)

    def attribute_loads(self, attribute: str) -> None:
        for use in self.tree.occurrences(attribute) if attribute else ():
            if isinstance(use, ast.Attribute) and isinstance(use.ctx, ast.Load):
                self.add(use)

    def _container(self, container: ast.AST) -> None:
        if isinstance(container, ast.Attribute):
            self.attribute_loads(container.attr)
        elif isinstance(container, ast.Name) and container.id == "self":
            self.flow.lost = True  # an object that is a table of its own: a registry
        elif isinstance(container, ast.Name):
            for binding in self.names.scopes.reaching(container) or []:
                self.variable(container.id, binding.node)

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

    def _may_be_under(self, key: ast.expr) -> bool:
        """Whether a mapping that holds the value may hold it under a key."""
        return not self.keys or self.any_key or string(key) in ("", *self.keys)

    def _is_spread(self, node: ast.AST) -> bool:
        """Whether a variable is a function's ``**kwargs``."""
        if not isinstance(node, ast.Name):
            return False
        bindings = self.names.scopes.reaching(node) or []
        arguments = [self.tree.parents.get(b.node) for b in bindings]
        return bool(bindings) and all(
            isinstance(a, ast.arguments) and a.kwarg is b.node
            for a, b in zip(arguments, bindings, strict=True)
        )

    def _is_table(self, node: ast.AST) -> bool:
        """Whether a variable is bound to nothing but dict literals."""
        if not isinstance(node, ast.Name):
            return False
        bindings = self.names.scopes.reaching(node) or []
        return bool(bindings) and all(isinstance(b.value, ast.Dict) for b in bindings)


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


def _has_many(
    call: ast.Call, star: Callable[[ast.Starred, ast.Call], bool] = lambda *_: True
) -> bool:
    """Whether a call has arguments enough beside one norm class to fill up to the norm's flag."""
    if len(call.args) > FLAG_POSITION + 1:
        return True
    return any(isinstance(a, ast.Starred) and star(a, call) for a in call.args)


def _returns_class(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether an annotation such as ``-> type[nn.BatchNorm2d]`` promises a class."""
    said = function.returns
    if said is None:
        return False
    quoted = isinstance(said, ast.Constant) and isinstance(said.value, str)
    return bool(_CLASS_TYPE.search(said.value if quoted else ast.unparse(said)))  # type: ignore[attr-defined]
