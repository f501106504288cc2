"""What one value is bound to, and where in the file that is read."""

from __future__ import annotations

import ast

from bncodemod.scan.callees import enclosing_classes, foreign_bases
from bncodemod.scan.demand import Demand, Flow
from bncodemod.scan.index import Exit, ExitKind
from bncodemod.scan.literals import string
from bncodemod.scan.names import Names
from bncodemod.scan.need import Need
from bncodemod.scan.scopes import Function


class Reads:
    """Collects the places where a value stands; each is ``pending`` until it has been looked at."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.tree = names.tree
        self.flow = Flow()
        self.pending: list[ast.AST] = []
        self._seen: set[ast.AST] = set()
        # The entries under which mappings hold the value: what ``**`` hands on.
        self.keys: set[str] = set()
        self.any_key = False

    def add(self, node: ast.AST) -> None:
        """The value stands at ``node``, too."""
        if node not in self._seen:
            self._seen.add(node)
            self.pending.append(node)

    def demand(self, node: ast.AST, need: Need) -> None:
        """What stands around ``node`` works with a class only."""
        self.flow.demands.append(Demand(node, need))

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
            self.container(target.value)
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
        """Every read of an attribute of that name, of whatever object."""
        for use in self.tree.occurrences(attribute) if attribute else ():
            if isinstance(use, ast.Attribute) and isinstance(use.ctx, ast.Load):
                self.add(use)

    def container(self, container: ast.AST) -> None:
        """Every read of what a container is bound to that the value is put into."""
        if isinstance(container, ast.Attribute):
            self.attribute_loads(container.attr)
        elif isinstance(container, ast.Name) and container.id == "self":
            self.flow.lost = True  # an object that is a table of its own: a registry
        elif isinstance(container, ast.Name):
            for binding in self.names.scopes.reaching(container) or []:
                self.variable(container.id, binding.node)

    def may_be_under(self, key: ast.expr) -> bool:
        """Whether a mapping that holds the value may hold it under a key."""
        return not self.keys or self.any_key or string(key) in ("", *self.keys)

    def is_spread(self, node: ast.AST) -> bool:
        """Whether a variable is a function's ``**kwargs``."""
        if not isinstance(node, ast.Name):
            return False
        bindings = self.names.scopes.reaching(node) or []
        arguments = [self.tree.parents.get(b.node) for b in bindings]
        return bool(bindings) and all(
            isinstance(a, ast.arguments) and a.kwarg is b.node
            for a, b in zip(arguments, bindings, strict=True)
        )

    def is_table(self, node: ast.AST) -> bool:
        """Whether a variable is bound to nothing but dict literals."""
        if not isinstance(node, ast.Name):
            return False
        bindings = self.names.scopes.reaching(node) or []
        return bool(bindings) and all(isinstance(b.value, ast.Dict) for b in bindings)
