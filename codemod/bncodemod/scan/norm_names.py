"""Where the name of a norm goes: ``"batch"`` as the norm of a library, or elsewhere."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field

from bncodemod.catalog import norm_arguments
from bncodemod.catalog.norm_arguments import NormArgument
from bncodemod.scan.names import Names
from bncodemod.scan.parameters import parameters
from bncodemod.scan.scopes import Function

_KEYWORD = re.compile(r"norm", re.IGNORECASE)


@dataclass(slots=True)
class NameUses:
    """Where the value of an expression goes: to a library as its norm, and how often elsewhere.

    ``named``: on its way there it is called a norm, by a keyword, a parameter or a variable.
    """

    calls: list[tuple[ast.Call, NormArgument]] = field(default_factory=list)
    named: bool = False
    others: int = 0


def name_uses(names: Names, node: ast.AST) -> NameUses:
    """Everything that the value of a node reaches by variables, defaults and parameters."""
    tracer = _Tracer(names)
    tracer.follow(node)
    return tracer.found


class _Tracer:
    def __init__(self, names: Names) -> None:
        self.names = names
        self.found = NameUses()
        self._seen: set[ast.AST] = set()

    def follow(self, node: ast.AST) -> None:
        above = self.names.tree.parents.get(node)
        if isinstance(above, ast.IfExp) and node is not above.test:
            self.follow(above)
        elif isinstance(above, ast.keyword):
            self._argument(self.names.tree.parent(above), None, above)
        elif isinstance(above, ast.Call) and node in above.args:
            self._argument(above, above.args.index(node), None)
        elif isinstance(above, ast.arguments):
            self._default(above, node)
        elif isinstance(above, ast.Assign) and len(above.targets) == 1:
            self._variable(above.targets[0])
        elif isinstance(above, ast.AnnAssign) and node is above.value:
            self._variable(above.target)
        else:
            self.found.others += 1

    def _argument(self, call: ast.AST, position: int | None, keyword: ast.keyword | None) -> None:
        if not isinstance(call, ast.Call):
            self.found.others += 1
            return
        name = keyword.arg or "" if keyword else ""
        skip = int(self.names.qualified(call.func) == "functools.partial")
        callee = call.args[0] if skip and call.args else call.func
        entry = norm_arguments.lookup(self.names.qualified(callee))
        place = None if position is None else position - skip
        if entry is not None and entry.parameter:
            if name == entry.parameter or (place is not None and place == entry.position):
                self.found.calls.append((call, entry))
                return
        taken = [p for d in self._definitions(callee) for p in parameters(d, call, place, name)]
        for parameter in taken:
            self._loads(parameter.arg, parameter)
        if not taken:
            self.found.named |= bool(_KEYWORD.search(name))
            self.found.others += 1

    def _definitions(self, callee: ast.expr) -> list[ast.AST]:
        meanings = self.names.meanings(callee)
        return [m.definition for m in meanings if m.definition is not None]

    def _default(self, arguments: ast.arguments, node: ast.AST) -> None:
        for parameter in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            if self.names.scopes.default(parameter) is node:
                self._loads(parameter.arg, parameter)

    def _variable(self, target: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self._loads(target.id, target)
        else:
            self.found.others += 1

    def _loads(self, name: str, binding: ast.AST) -> None:
        """Follow every read of the variable that a node binds."""
        if binding in self._seen:
            return
        self._seen.add(binding)
        self.found.named |= bool(_KEYWORD.search(name))
        scopes, tree = self.names.scopes, self.names.tree
        scope = scopes.binding_target_scope(binding)
        is_function = isinstance(scope, (ast.Lambda, *Function))
        for use in tree.occurrences(name, scope if is_function else None):
            if isinstance(use, ast.Name) and isinstance(use.ctx, ast.Load):
                if any(b.node is binding for b in scopes.reaching(use) or []):
                    self.follow(use)
        if isinstance(scope, ast.ClassDef):
            self.found.others += 1
