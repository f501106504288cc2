"""Scopes, bindings and the bindings that reach a use: Python's own rules for names."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from enum import Enum

from bncodemod.source.tree import LazyTree

Function = (ast.FunctionDef, ast.AsyncFunctionDef)
Comprehension = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
ScopeNode = (ast.Module, ast.ClassDef, ast.Lambda, *Function, *Comprehension)


def own_method(owner: ast.ClassDef, name: str) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """The method of that name that a class defines itself."""
    return next((s for s in owner.body if isinstance(s, Function) and s.name == name), None)


class BindingKind(Enum):
    """How a name gets its value."""

    IMPORT = "import"
    VALUE = "value"
    ELEMENT = "element"
    PARAMETER = "parameter"
    DEFINITION = "definition"
    OTHER = "other"


@dataclass(frozen=True, slots=True, eq=False)
class Binding:
    """One place that binds a name.

    ``value`` is the expression that is bound (VALUE), the one that holds it as an element
    (ELEMENT), the default (PARAMETER, or None), or the definition itself (DEFINITION).
    ``qualified`` is what an IMPORT brings in; a leading dot marks a relative import.
    """

    kind: BindingKind
    node: ast.AST
    value: ast.AST | None = None
    qualified: str = ""


class Scopes:
    """The scopes of one file and what their names are bound to."""

    def __init__(self, tree: LazyTree) -> None:
        self.tree = tree
        self._bindings: dict[tuple[ast.AST, str], list[Binding]] = {}

    def scope_of(self, node: ast.AST) -> ast.AST:
        """The scope in which ``node`` is evaluated."""
        below = child = node
        for above in self.tree.ancestors(node):
            if isinstance(above, ScopeNode) and _inside(above, child, below):
                return above
            below, child = child, above
        return self.tree.module

    def bindings(self, scope: ast.AST, name: str) -> list[Binding]:
        """The bindings of a name in one scope, in the order of the source."""
        key = scope, name
        if key not in self._bindings:
            self._bindings[key] = self._collect(scope, name)
        return self._bindings[key]

    def binding_scope(self, name: str, scope: ast.AST) -> ast.AST | None:
        """The scope whose binding a use of ``name`` in ``scope`` sees; None for a builtin."""
        first = True
        while True:
            if (first or not isinstance(scope, ast.ClassDef)) and self.bindings(scope, name):
                return scope
            if isinstance(scope, ast.Module):
                return None
            scope = self.scope_of(scope)
            first = False

    def reaching(self, use: ast.Name) -> list[Binding] | None:
        """The bindings whose value a use may see; None if the name is bound nowhere in the file."""
        here = self.scope_of(use)
        scope = self.binding_scope(use.id, here)
        if scope is None:
            return None
        bindings = self.bindings(scope, use.id)
        if len(bindings) == 1:
            return bindings
        if scope is here:
            return self._before(bindings, use) or bindings
        return self._at_end(bindings, scope)

    def default(self, argument: ast.arg) -> ast.expr | None:
        """The default of a parameter."""
        return _default(argument, self.tree)

    def _collect(self, scope: ast.AST, name: str) -> list[Binding]:
        nodes = self.tree.bindings(name, None if isinstance(scope, ast.Module) else scope)
        declared: dict[ast.AST, ast.AST] = {}
        for node in nodes:
            if isinstance(node, ast.Global):
                declared[self.scope_of(node)] = self.tree.module
            elif isinstance(node, ast.Nonlocal):
                inner = self.scope_of(node)
                declared[inner] = self.scope_of(inner)
        found = []
        for node in nodes:
            binding = self._binding(node)
            if binding is not None:
                target = self.binding_target_scope(node)
                if declared.get(target, target) is scope:
                    found.append(binding)
        return sorted(found, key=lambda binding: _place(binding.node))

    def binding_target_scope(self, node: ast.AST) -> ast.AST:
        """The scope in which a node binds its name."""
        if isinstance(node, ast.arg):
            return next(
                a for a in self.tree.ancestors(node) if isinstance(a, (ast.Lambda, *Function))
            )
        scope = self.scope_of(node)
        if isinstance(self.tree.parent(node), ast.NamedExpr):
            # PEP 572: a walrus in a comprehension binds in the scope around it.
            while isinstance(scope, Comprehension):
                scope = self.scope_of(scope)
        return scope

    def _binding(self, node: ast.AST) -> Binding | None:
        tree = self.tree
        if isinstance(node, ast.alias):
            return Binding(BindingKind.IMPORT, node, qualified=imported(node, tree.parent(node)))
        if isinstance(node, ast.arg):
            return Binding(BindingKind.PARAMETER, node, _default(node, tree))
        if isinstance(node, (ast.ClassDef, *Function)):
            return Binding(BindingKind.DEFINITION, node, node)
        if isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar, ast.MatchMapping)):
            return Binding(BindingKind.OTHER, node)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            return _stored(node, tree)
        return None

    def _before(self, bindings: list[Binding], use: ast.AST) -> list[Binding]:
        """Of the bindings in the scope of the use, those that a run may have passed last."""
        place = _place(use)
        statement = self.tree.statement(use)
        live: list[Binding] = []
        for binding in bindings:
            own = self.tree.statement(binding.node)
            if isinstance(binding.node, ast.arg):
                live = [*live, binding]
            elif own is statement or _place(binding.node) >= place:
                # A statement binds after it has read; what stands below comes round in a loop.
                if self._share_loop(binding.node, use):
                    live = [*live, binding]
            elif self._exclusive(binding.node, use):
                continue
            elif self._dominates(own, use) and not isinstance(own, ast.AugAssign):
                live = [binding]
            else:
                live = [*live, binding]
        return live

    def _at_end(self, bindings: list[Binding], scope: ast.AST) -> list[Binding]:
        live: list[Binding] = []
        for binding in bindings:
            unconditional = (
                isinstance(binding.node, (ast.ClassDef, *Function))
                or self.tree.parents.get(self.tree.statement(binding.node)) is scope
            )
            own = self.tree.statement(binding.node) if unconditional else None
            replaces = unconditional and not isinstance(own, ast.AugAssign)
            live = [binding] if replaces else [*live, binding]
        return live

    def _dominates(self, statement: ast.AST, use: ast.AST) -> bool:
        holder = self.tree.parents.get(statement)
        child = use
        for above in self.tree.ancestors(use):
            if above is holder:
                return _field(holder, child) == _field(holder, statement)
            child = above
        return False

    def _exclusive(self, one: ast.AST, other: ast.AST) -> bool:
        """Whether an ``if`` lets only one of the two run."""
        path: dict[ast.AST, ast.AST] = {}
        child = one
        for above in self.tree.ancestors(one):
            path[above] = child
            child = above
        child = other
        for above in self.tree.ancestors(other):
            if above in path:
                if isinstance(above, ast.If):
                    fields = {_field(above, path[above]), _field(above, child)}
                    return fields == {"body", "orelse"}
                return isinstance(above, ast.Match)
            child = above
        return False

    def _share_loop(self, one: ast.AST, other: ast.AST) -> bool:
        loops = {
            above
            for above in self.tree.ancestors(one)
            if isinstance(above, (ast.For, ast.AsyncFor, ast.While))
        }
        return any(above in loops for above in self.tree.ancestors(other))


def _inside(scope: ast.AST, child: ast.AST, below: ast.AST) -> bool:
    """Whether a scope node evaluates its direct child, reached through ``below``, inside itself."""
    if isinstance(scope, ast.Module):
        return True
    if isinstance(scope, ast.Lambda):
        return child is scope.body
    if isinstance(scope, Comprehension):
        # The first iterable is evaluated where the comprehension stands.
        first = scope.generators[0]
        return not (child is first and below is first.iter)
    return _field(scope, child) == "body"


def _field(holder: ast.AST | None, child: ast.AST) -> str:
    """The field of ``holder`` in which ``child`` stands."""
    if holder is None:
        return ""
    for name, value in ast.iter_fields(holder):
        if value is child or (isinstance(value, list) and any(item is child for item in value)):
            return name
    return ""


def imported(alias: ast.alias, statement: ast.AST) -> str:
    """The qualified name that an import binds; a leading dot marks a relative one."""
    if isinstance(statement, ast.ImportFrom):
        module = "." * statement.level + (statement.module or "")
        return f"{module}{'' if module.endswith('.') else '.'}{alias.name}"
    return alias.name if alias.asname else alias.name.partition(".")[0]


def _default(argument: ast.arg, tree: LazyTree) -> ast.expr | None:
    arguments = tree.parent(argument)
    assert isinstance(arguments, ast.arguments)
    positional = [*arguments.posonlyargs, *arguments.args]
    if argument in positional:
        index = positional.index(argument) - len(positional) + len(arguments.defaults)
        return arguments.defaults[index] if index >= 0 else None
    if argument in arguments.kwonlyargs:
        return arguments.kw_defaults[arguments.kwonlyargs.index(argument)]
    return None


def _stored(name: ast.Name, tree: LazyTree) -> Binding:
    """The binding of a stored name: by assignment, unpacking, loop, with or walrus."""
    child: ast.AST = name
    unpacked = False
    for above in tree.ancestors(name):
        if isinstance(above, (ast.Assign, ast.AnnAssign, ast.NamedExpr)):
            if above.value is None:
                return Binding(BindingKind.OTHER, name)
            if not unpacked:
                return Binding(BindingKind.VALUE, name, above.value)
            return _unpacked(name, child, above.value)
        if isinstance(above, (ast.For, ast.AsyncFor, ast.comprehension)):
            return Binding(BindingKind.ELEMENT, name, above.iter)
        if not isinstance(above, (ast.Tuple, ast.List, ast.Starred)):
            break
        unpacked, child = True, above
    return Binding(BindingKind.OTHER, name)


def _unpacked(name: ast.Name, target: ast.AST, value: ast.expr) -> Binding:
    """The binding of one name in ``a, b = value``."""
    if (
        isinstance(target, (ast.Tuple, ast.List))
        and isinstance(value, (ast.Tuple, ast.List))
        and len(target.elts) == len(value.elts)
        and name in target.elts
        and not any(isinstance(e, ast.Starred) for e in (*target.elts, *value.elts))
    ):
        return Binding(BindingKind.VALUE, name, value.elts[target.elts.index(name)])
    return Binding(BindingKind.ELEMENT, name, value)


def _place(node: ast.AST) -> tuple[int, int]:
    return getattr(node, "lineno", 0), getattr(node, "col_offset", 0)
