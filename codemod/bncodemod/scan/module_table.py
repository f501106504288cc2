"""The names that a module binds, as its outer statements show them."""

from __future__ import annotations

import ast
import re
from collections import Counter
from dataclasses import replace

from bncodemod.scan.construction import base_name, intervenes, patched_class, skipped_classes
from bncodemod.scan.literals import is_none
from bncodemod.scan.scopes import Function, own_method
from bncodemod.scan.summary import ClassFacts
from bncodemod.source.tree import LazyTree

_WORD = re.compile(r"\w+")


class ModuleTable:
    """The names that a module binds, read off its outer statements."""

    def __init__(self, tree: LazyTree) -> None:
        self.tree = tree
        self.words = Counter(_WORD.findall(tree.source.text))
        self.assigned: dict[str, list[str]] = {}
        self.classes: dict[str, ClassFacts] = {}
        self.others: set[str] = set()
        self.blank: set[str] = set()
        self.exported: tuple[str, ...] | None = None

    def read(self, body: list[ast.stmt]) -> None:
        for statement in body:
            if isinstance(statement, ast.ClassDef):
                bases = tuple(ast.unparse(base_name(base)) for base in statement.bases)
                init = own_method(statement, "__init__")
                self.classes[statement.name] = ClassFacts(
                    bases,
                    _init_parameters(statement),
                    init is not None and init.args.vararg is not None,
                    intervenes(self.tree, statement),
                    self.words[statement.name] > 1,
                    tuple(map(ast.unparse, skipped_classes(self.tree, statement))),
                )
            elif isinstance(statement, Function):
                self.others.add(statement.name)
            elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
                self._assign(statement)
            elif isinstance(statement, (ast.If, ast.Try, ast.With, ast.For, ast.While)):
                for name in ("body", "orelse", "finalbody"):
                    self.read(getattr(statement, name, []))
                for handler in getattr(statement, "handlers", []):
                    self.read(handler.body)

    def _assign(self, statement: ast.Assign | ast.AnnAssign) -> None:
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        for target in targets:
            patched = self.classes.get(patched_class(target))
            if patched is not None:
                self.classes[patched_class(target)] = replace(patched, intervenes=True)
            elif not isinstance(target, ast.Name):
                self.others.update(n.id for n in ast.walk(target) if isinstance(n, ast.Name))
            elif target.id == "__all__":
                self.exported = _strings(statement.value)
            elif isinstance(statement.value, (ast.Name, ast.Attribute)):
                self.assigned.setdefault(target.id, []).append(ast.unparse(statement.value))
            elif statement.value is not None:
                (self.blank if is_none(statement.value) else self.others).add(target.id)


def _init_parameters(definition: ast.ClassDef) -> tuple[str, ...] | None:
    init = own_method(definition, "__init__")
    if init is None:
        return None
    return tuple(a.arg for a in (*init.args.posonlyargs, *init.args.args))[1:]


def _strings(node: ast.expr | None) -> tuple[str, ...] | None:
    """The strings of a literal list; None where it is computed."""
    if not isinstance(node, (ast.List, ast.Tuple)):
        return None
    found = [e.value for e in node.elts if isinstance(e, ast.Constant) and isinstance(e.value, str)]
    return tuple(found) if len(found) == len(node.elts) else None
