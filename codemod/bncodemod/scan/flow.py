"""Where a class that is used as a value goes: called, tested as a class, handed away.

Functions, tuples and dicts are followed as if they were what they hold: a class in a table that is
indexed and called is a class that is called. What leaves the file is looked up in the index.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any

from bncodemod.scan.comparisons import may_meet_batch_norm
from bncodemod.scan.demand import Flow
from bncodemod.scan.handing_over import CONTAINER_ADDS, CONTAINER_METHODS, HandingOver
from bncodemod.scan.index import Exit, ExitKind
from bncodemod.scan.literals import string
from bncodemod.scan.names import Names
from bncodemod.scan.need import Need
from bncodemod.scan.scopes import Function

_CLASS_TYPE = re.compile(r"\b[tT]ype\[")
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
_PARTIAL_ATTRIBUTES = frozenset({"func", "args", "keywords"})


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


class _Tracer(HandingOver):
    """Looks at each place where the value stands: what its parent does with it."""

    def followed(self) -> Flow:
        """All uses that the places known so far lead to."""
        while self.pending:
            self.step(self.pending.pop())
        for call in self.flow.calls:
            for argument in call.args:
                if isinstance(argument, ast.Starred) and self.reaches_flag(argument, call):
                    self.demand(call, Need.FLAG_BY_STAR)
        return self.flow

    def step(self, node: ast.AST) -> None:
        above = self.tree.parents.get(node)
        handler = _HANDLERS.get(type(above))
        if handler is not None:
            handler(self, above, node)
        elif not isinstance(above, _HARMLESS):
            self.demand(node, Need.UNKNOWN)

    # One method a kind of parent; ``node`` is the value that stands in it.

    def on_call(self, call: ast.Call, node: ast.AST) -> None:
        if node is call.func:
            self.flow.calls.append(call)
        elif self.is_spread(node):
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
            if self.may_be_under(above.slice):
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
                        if self.returns_to(scope, call):
                            self.add(call)
            of_module = self.tree.parents.get(scope) is self.tree.module
            name = scope.name if of_module and not scope.decorator_list else ""
            self.leave(above, Exit(ExitKind.RESULT, name), [])

    def on_compare(self, above: ast.Compare, node: ast.AST) -> None:
        if isinstance(above.ops[-1], (ast.In, ast.NotIn)) and node is above.comparators[-1]:
            if self.is_table(node):
                return  # its keys are asked for
        sides = [above.left, *above.comparators]
        if not all(isinstance(s, (ast.Constant, ast.JoinedStr)) for s in sides if s is not node):
            if may_meet_batch_norm(self.names, above):
                self.demand(above, Need.IDENTITY)

    def on_attribute(self, above: ast.Attribute, node: ast.AST) -> None:
        call = self.tree.parents.get(above)
        if above.attr in _PARTIAL_ATTRIBUTES:
            self.flow.unwrapped = True
        elif isinstance(call, ast.Call) and above is call.func and above.attr in CONTAINER_METHODS:
            if not call.args or self.may_be_under(call.args[0]):
                self.add(call)
        elif not (above.attr in (*CONTAINER_ADDS, "keys") and isinstance(call, ast.Call)):
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


def _returns_class(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether an annotation such as ``-> type[nn.BatchNorm2d]`` promises a class."""
    said = function.returns
    if said is None:
        return False
    quoted = isinstance(said, ast.Constant) and isinstance(said.value, str)
    return bool(_CLASS_TYPE.search(said.value if quoted else ast.unparse(said)))  # type: ignore[attr-defined]
