"""What gives the value of an expression: the calls that build the models which it may hold."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from bncodemod.scan.callers import handed_to
from bncodemod.scan.model_places import CHAIN, COPIES, WRAPPERS
from bncodemod.scan.names import Names
from bncodemod.scan.scopes import Binding, BindingKind, Function
from bncodemod.source.calls import arguments_of
from bncodemod.source.dotted_names import last_name

# What holds a module, whatever it is reached by: ``trainer.model``.
MODULE = re.compile(r"(?:^|[._])(?:module|model|net|network|backbone|encoder)$")
_CONTAINERS = ("torch.nn.ModuleList", "torch.nn.ModuleDict", "torch.nn.Sequential")
_VALUES = ("items", "values")  # methods of a dict that give what it holds
_ELEMENTS = frozenset({"zip", "enumerate", "reversed", "list", "tuple", "iter"})


@dataclass(slots=True, eq=False)
class Sources:
    """The models that an expression may hold: ``calls`` give them.

    ``makers`` are the names of what is called there, and of the classes of which they are ``self``;
    ``entries`` are the calls that hand one to the function around the expression. ``is_linked``
    says whether all of them are seen, ``holds_unknown`` whether what is called is given a model of
    which that is not so.
    """

    calls: set[ast.Call] = field(default_factory=set)
    makers: set[str] = field(default_factory=set)
    entries: set[ast.Call] = field(default_factory=set)
    is_linked: bool = True
    holds_unknown: bool = False


def maker(call: ast.Call) -> str:
    """What is called, by its last name; a literal that comes first says which model it is."""
    name = last_name(call.func)
    first = call.args[0] if call.args else None
    if isinstance(first, ast.Constant) and isinstance(first.value, str):
        return f"{name}({first.value!r})"
    return name


class Seeker:
    """Follows expressions back to the calls that give their values, added to ``sources``."""

    def __init__(self, names: Names, sources: Sources) -> None:
        self.names = names
        self.tree = names.tree
        self.sources = sources
        self._seen: set[ast.AST] = set()

    def seek(self, node: ast.AST | None) -> None:
        """Add what gives the value of an expression; None is one that is not seen."""
        if node in self._seen:
            return
        if node is not None:
            self._seen.add(node)
        if isinstance(node, ast.Call):
            self._call(node)
        elif isinstance(node, ast.Name):
            self._name(node)
        elif isinstance(node, ast.Attribute):
            self._attribute(node)
        elif isinstance(node, ast.Subscript):
            self._added_to(node.value)
            self.seek(node.value)
        elif isinstance(node, (ast.Starred, ast.NamedExpr)):
            self.seek(node.value)
        elif isinstance(node, (ast.List, ast.Tuple)):
            self.sources.is_linked &= bool(node.elts)  # what is added to it later is not seen
            self._all(node.elts)
        elif isinstance(node, ast.Dict):
            self.sources.is_linked &= bool(node.values)
            self._all(node.values)
        elif isinstance(node, (ast.ListComp, ast.GeneratorExp)):
            self.seek(node.elt)
        elif isinstance(node, ast.DictComp):
            self.seek(node.value)
        elif isinstance(node, ast.IfExp):
            self._all([node.body, node.orelse])
        elif isinstance(node, ast.BoolOp):
            self._all(node.values)
        else:
            self.sources.is_linked = False

    def _all(self, nodes: list[ast.expr]) -> None:
        for node in nodes:
            self.seek(node)

    def _call(self, call: ast.Call) -> None:
        function = call.func
        if isinstance(function, ast.Attribute) and function.attr in CHAIN:
            self.seek(function.value)
        elif isinstance(function, ast.Attribute) and function.attr in _VALUES and not call.args:
            self._added_to(function.value)
            self.seek(function.value)
        elif call.args and (
            self.names.qualified(function) in (*WRAPPERS, *COPIES)
            or (isinstance(function, ast.Name) and function.id in _ELEMENTS)
        ):
            self._all(call.args)
        else:
            self.sources.calls.add(call)
            self.sources.makers.add(maker(call))
            self.sources.is_linked &= self._is_builder(function)
            self._holds(call)

    def _is_builder(self, function: ast.expr) -> bool:
        """Whether what is called is known by its name: imported, or a definition of the file."""
        callee = self.names.qualified(function)
        if callee in _CONTAINERS or callee.startswith("builtins."):
            return False
        if callee or any(meaning.definition for meaning in self.names.meanings(function)):
            return True
        name = last_name(function)
        return bool(name) and any(
            isinstance(node, (ast.ClassDef, *Function)) for node in self.tree.occurrences(name)
        )

    def _holds(self, call: ast.Call) -> None:
        """What a call is given may be part of what it gives: ``ModelEma(model)``."""
        is_linked = self.sources.is_linked
        for given in arguments_of(call):
            if isinstance(given, (ast.Name, ast.Attribute, ast.Call)):
                self.sources.is_linked = True
                self.seek(given)
                if not self.sources.is_linked and MODULE.search(ast.unparse(given)):
                    self.sources.holds_unknown = True
        self.sources.is_linked = is_linked

    def _added_to(self, container: ast.expr) -> None:
        """What is put into a container one by one: ``models[name] = Net()``, ``append(Net())``."""
        for node in self.tree.occurrences(last_name(container)):
            if not self._is_same(node, container):
                continue
            above = self.tree.parents.get(node)
            outer = self.tree.parents.get(above) if above is not None else None
            if isinstance(above, ast.Subscript) and isinstance(above.ctx, ast.Store):
                if above.value is node:
                    self.seek(getattr(outer, "value", None))
            elif isinstance(above, ast.Attribute) and above.attr == "append":
                if isinstance(outer, ast.Call):
                    self._all(outer.args)

    def _is_same(self, node: ast.AST, container: ast.expr) -> bool:
        """Whether two expressions name one variable, or an attribute that is written alike."""
        if not isinstance(node, ast.expr) or ast.unparse(node) != ast.unparse(container):
            return False
        if not isinstance(node, ast.Name):
            return True
        scopes = self.names.scopes
        found = [scopes.binding_scope(node.id, scopes.scope_of(n)) for n in (node, container)]
        return found[0] is found[1]

    def _name(self, node: ast.Name) -> None:
        bindings = self.names.scopes.reaching(node)
        if not bindings:
            self.sources.is_linked = False
        for binding in bindings or ():
            if binding.kind is BindingKind.VALUE:
                self.seek(binding.value)
            elif binding.kind is BindingKind.ELEMENT:
                source = self._source(binding)
                if isinstance(source, (ast.Name, ast.Attribute)):
                    self._added_to(source)
                self.seek(source)
            elif binding.kind is BindingKind.PARAMETER:
                self._parameter(binding)
            elif binding.kind is not BindingKind.OTHER:
                self.sources.makers.add(node.id)  # a class or module by its name
            else:
                self.sources.is_linked = False

    def _source(self, binding: Binding) -> ast.AST | None:
        """What holds the elements of a loop, of the several that ``zip`` goes through."""
        value, target = binding.value, self.tree.parents.get(binding.node)
        if isinstance(value, ast.Call) and isinstance(target, ast.Tuple):
            if getattr(value.func, "id", "") == "zip" and len(value.args) == len(target.elts):
                return value.args[target.elts.index(binding.node)]  # type: ignore[arg-type]
        return value

    def _parameter(self, binding: Binding) -> None:
        """What the calls of a function hand to one of its parameters."""
        function = self.tree.parent(self.tree.parent(binding.node))
        owner = self.tree.parents.get(function)
        if isinstance(function, Function) and isinstance(owner, ast.ClassDef):
            if [*function.args.posonlyargs, *function.args.args][:1] == [binding.node]:
                self.sources.makers.add(owner.name)  # ``self``
                return
        given = handed_to(self.tree, binding.node)
        handed = {call: value for call, value in given.items() if value is not None}
        if not handed:
            self.sources.is_linked = False
        self.sources.entries.update(handed)
        for value in handed.values():
            self.seek(value)

    def _attribute(self, node: ast.Attribute) -> None:
        """``self.net``, ``model.encoder``: what is assigned to it, else what its owner is."""
        values = list(self._assigned(node))
        for value in values:
            self.seek(value)
        if not values:
            self.sources.is_linked &= not self._is_set_from_outside(node)
            self.sources.is_linked &= not self._is_first_parameter(node.value)
            self.seek(node.value)

    def _is_set_from_outside(self, node: ast.Attribute) -> bool:
        """Whether some statement of the file sets such an attribute of another object."""
        return isinstance(node.value, ast.Name) and any(
            isinstance(other, ast.Attribute)
            and isinstance(other.ctx, ast.Store)
            and ast.unparse(other) == ast.unparse(node)
            for other in self.tree.occurrences(node.attr)
        )

    def _is_first_parameter(self, node: ast.expr) -> bool:
        """Whether an expression is the ``self`` of a method: what no statement of its class sets
        comes from a base, or by ``setattr``."""
        bindings = self.names.scopes.reaching(node) if isinstance(node, ast.Name) else None
        for binding in bindings or ():
            method = self.tree.parents.get(self.tree.parents.get(binding.node, binding.node))
            if binding.kind is BindingKind.PARAMETER and isinstance(method, Function):
                is_method = isinstance(self.tree.parents.get(method), ast.ClassDef)
                return is_method and method.args.args[:1] == [binding.node]
        return False

    def _assigned(self, node: ast.Attribute) -> Iterator[ast.expr]:
        owner = next((a for a in self.tree.ancestors(node) if isinstance(a, ast.ClassDef)), None)
        if owner is None or not isinstance(node.value, ast.Name):
            return
        for other in self.tree.occurrences(node.attr, owner):
            statement = self.tree.parents.get(other)
            if isinstance(other, ast.Attribute) and isinstance(other.ctx, ast.Store):
                if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value:
                    yield statement.value
