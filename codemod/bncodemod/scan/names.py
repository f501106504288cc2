"""What an expression may stand for: torch's classes, another library's, the file's own."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass

from bncodemod.catalog import model_zoos, torchvision
from bncodemod.catalog.torch import NormClass, norm_class
from bncodemod.scan.index import ProjectIndex
from bncodemod.scan.scopes import Binding, BindingKind, Scopes
from bncodemod.source.calls import arguments_of
from bncodemod.source.tree import LazyTree


@dataclass(frozen=True, slots=True)
class Meaning:
    """One thing that an expression may stand for.

    ``qualified`` names what an import brought in (a leading dot marks a relative import);
    ``definition`` is a class or function of this file; with neither, the value is not known.
    ``through`` holds the nodes of the variables that it was read from, nearest first.
    """

    qualified: str = ""
    definition: ast.AST | None = None
    through: tuple[ast.AST, ...] = ()


UNKNOWN = Meaning()

_STAR_MODULES = (
    "torch.nn",
    "torch.nn.functional",
    "torch.nn.modules",
    "torchvision.models",
    "torchvision.ops",
)


# Helpers of many projects that import a module which may be missing.
OPTIONAL_IMPORTS = frozenset(
    {"lazy_import", "optional_import", "safe_import", "try_import", "import_optional"}
)


class Names:
    """Resolves the names of one file as Python would."""

    def __init__(self, tree: LazyTree, index: ProjectIndex) -> None:
        self.tree = tree
        self.scopes = Scopes(tree)
        self.index = index
        self._cache: dict[ast.AST, tuple[Meaning, ...]] = {}
        self._stars = [
            statement
            for statement in _import_statements(tree.module.body)
            if any(alias.name == "*" for alias in statement.names)
        ]

    def meanings(self, node: ast.AST) -> tuple[Meaning, ...]:
        """Everything that an expression may stand for; never empty."""
        cached = self._cache.get(node)
        if cached is None:
            self._cache[node] = (UNKNOWN,)  # ends a cycle such as ``x = x or y``
            cached = self._cache[node] = tuple(dict.fromkeys(self._resolve(node)))
        return cached

    def qualified(self, node: ast.AST) -> str:
        """The qualified name that an expression surely stands for, else the empty string."""
        found = {meaning.qualified for meaning in self.meanings(node)}
        return found.pop() if len(found) == 1 else ""

    def norm(self, node: ast.AST) -> NormClass | None:
        """The layer that an expression surely is when read straight from an import."""
        meanings = self.meanings(node)
        found = [self.index.norm(m.qualified) for m in meanings if not m.through]
        if len(found) < len(meanings) or len({norm.family for norm in found if norm}) != 1:
            return None
        # Both branches of an ``if`` may import one: SyncBatchNorm here, BatchNorm2d there.
        return found[0] if all(found) else None

    def norms(self, node: ast.AST) -> list[NormClass]:
        """The layers that an expression may be, by whatever way."""
        found = (self.index.norm(meaning.qualified) for meaning in self.meanings(node))
        return [norm for norm in found if norm is not None]

    def function(self, name: str, before: ast.stmt) -> ast.FunctionDef | None:
        """The function ``name`` that the module defines above one of its statements."""
        for binding in self.scopes.bindings(self.tree.module, name):
            if isinstance(binding.node, ast.FunctionDef) and binding.node.lineno < before.lineno:
                return binding.node
        return None

    def imported_by_star(self, name: str) -> str:
        """Where ``name`` is from if a star import of a known library brings it in, else empty."""
        for statement in reversed(self._stars):
            module = statement.module or ""
            package = "." * statement.level + module
            known = self.index.names.get(f"{package}.{name}" if module else f"{package}{name}")
            if known:
                return known
            if statement.level == 0 and _is_of_library(f"{module}.{name}"):
                return f"{module}.{name}"
        return ""

    @property
    def star_modules(self) -> list[ast.ImportFrom]:
        """The star imports of the module."""
        return self._stars

    def _resolve(self, node: ast.AST) -> Iterable[Meaning]:
        if isinstance(node, ast.Name):
            return self._name(node)
        if isinstance(node, ast.Attribute):
            return [self._attribute(node, base) for base in self.meanings(node.value)]
        if isinstance(node, ast.IfExp):
            return (*self.meanings(node.body), *self.meanings(node.orelse))
        if isinstance(node, ast.BoolOp):
            return [meaning for value in node.values for meaning in self.meanings(value)]
        if isinstance(node, ast.NamedExpr):
            return self.meanings(node.value)
        if isinstance(node, ast.Lambda):
            return (Meaning(definition=node),)
        if isinstance(node, ast.Call):
            return (self._looked_up(node),)
        return (UNKNOWN,)

    def _looked_up(self, call: ast.Call) -> Meaning:
        """What ``import_module("torch.nn")`` and ``getattr(torch, "nn")`` give."""
        given = arguments_of(call)
        name = given[-1] if given else None
        if not isinstance(name, ast.Constant) or not isinstance(name.value, str):
            return UNKNOWN
        function = self.qualified(call.func)
        if function == "importlib.import_module":
            return self._known(_absolute(given))
        if function == "builtins.__import__" and len(given) == 1:
            return self._known(name.value.partition(".")[0])  # as ``import a.b`` binds a
        if function == "builtins.getattr" and len(call.args) == 2:
            base = self.qualified(call.args[0])
            return self._known(f"{base}.{name.value}") if base else UNKNOWN
        return self._imported_by_call(call)

    def _imported_by_call(self, call: ast.Call) -> Meaning:
        """The module that ``optional_import("torch.nn")`` gives, alone or as a first element."""
        function = call.func.attr if isinstance(call.func, ast.Attribute) else call.func
        name = function.id if isinstance(function, ast.Name) else function
        if name not in OPTIONAL_IMPORTS or len(call.args) != 1 or call.keywords:
            return UNKNOWN
        module = call.args[0]
        if isinstance(module, ast.Constant) and isinstance(module.value, str):
            return self._known(module.value)
        return UNKNOWN

    def _name(self, node: ast.Name) -> Iterable[Meaning]:
        if node.id in ("self", "cls"):
            return (UNKNOWN,)  # never an import, and on every other line of a class
        bindings = self.scopes.reaching(node)
        if bindings is None:
            star = self.imported_by_star(node.id)
            return (Meaning(star),) if star else (Meaning(f"builtins.{node.id}"),)
        found: list[Meaning] = []
        for binding in bindings:
            found.extend(self._bound(binding))
        return found or (UNKNOWN,)

    def _bound(self, binding: Binding) -> Iterable[Meaning]:
        if binding.kind is BindingKind.IMPORT:
            return (self._known(binding.qualified),)
        if binding.kind is BindingKind.DEFINITION:
            return (Meaning(definition=binding.value),)
        if binding.kind is BindingKind.ELEMENT and isinstance(binding.value, ast.Call):
            return (self._imported_by_call(binding.value),)
        if binding.kind is BindingKind.VALUE and binding.value is not None:
            if isinstance(binding.value, ast.Constant) and binding.value.value is None:
                return ()  # ``nn = None`` where an import failed: no use of it can succeed
            return [
                Meaning(m.qualified, m.definition, (binding.node, *m.through))
                for m in self.meanings(binding.value)
            ]
        return (UNKNOWN,)

    def _attribute(self, node: ast.Attribute, base: Meaning) -> Meaning:
        if not base.qualified:
            return UNKNOWN
        # A class read from a module is what its import says, by whatever variable the module came.
        return self._known(f"{base.qualified}.{node.attr}")

    def _known(self, qualified: str) -> Meaning:
        return Meaning(self.index.names.get(qualified, qualified))


def _is_of_library(qualified: str) -> bool:
    """Whether a star import brings in a name that the catalog knows, or a module of norms."""
    return qualified in _STAR_MODULES or any(
        lookup(qualified) for lookup in (norm_class, torchvision.lookup, model_zoos.lookup)
    )


def _absolute(given: list[ast.expr]) -> str:
    """The module that ``import_module(".nn", "torch")`` gives."""
    written = [n.value for n in given if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    if len(written) < len(given):
        return ""
    module, package = (*written, "")[:2]
    level = len(module) - len(module.lstrip("."))
    parents = package.split(".")[: 1 - level or None] if level else []
    return ".".join([*parents, module[level:]]) if package or not level else ""


def _import_statements(body: list[ast.stmt]) -> list[ast.ImportFrom]:
    """The from-imports of a module, those under ``if`` and ``try`` included."""
    found: list[ast.ImportFrom] = []
    for statement in body:
        if isinstance(statement, ast.ImportFrom):
            found.append(statement)
        elif isinstance(statement, (ast.If, ast.Try, ast.With)):
            for name in ("body", "orelse", "finalbody"):
                found.extend(_import_statements(getattr(statement, name, [])))
            for handler in getattr(statement, "handlers", []):
                found.extend(_import_statements(handler.body))
    return found
