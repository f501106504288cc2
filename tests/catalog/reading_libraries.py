"""Finds the classes of a library that build batch norm by reading its source, which is not run.

A class counts if it is a module and its body names a batch norm of torch's, or another class or
function of the library that does, other than to test for it. So arguments may still say that a
model of it holds none.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path

from bncodemod.catalog import torchvision

_NORMS = frozenset(f"torch.nn.{lazy}BatchNorm{n}d" for lazy in ("", "Lazy") for n in (1, 2, 3)) | {
    "torch.nn.SyncBatchNorm"
}
_MODULES = frozenset(
    f"torch.nn.{name}" for name in ("Module", "Sequential", "ModuleList", "ModuleDict")
)
# What a package of transformers calls to import what its modules export when it is asked for.
_LAZY_IMPORTS = "define_import_structure("
# What transformers writes its modules from: no user imports it.
_TEMPLATE = "modular_"
# What says nothing about what a class builds.
_TESTS = frozenset({"isinstance", "issubclass", "hasattr"})
_INITIALISERS = ("_init_weights", "init_weights")
# Builders of any backbone by its name or configuration, and what freezes the norms of one.
_BACKBONES = frozenset({"timm.create_model", "transformers.backbone_utils.load_backbone"})
_FREEZER = "replace_batch_norm"

Definition = ast.ClassDef | ast.FunctionDef


class Library:
    """The modules of one package, by their names."""

    def __init__(self, root: Path) -> None:
        self.name = root.name
        self.modules: dict[str, Source] = {}
        for path in sorted(root.rglob("*.py")):
            if path.name.startswith(_TEMPLATE):
                continue
            parts = path.relative_to(root.parent).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            self.modules[name] = Source(self, name, is_package, path.read_text(encoding="utf-8"))

    def names(self) -> dict[str, list[str]]:
        """The classes of each module that defines any, and of each package that exports any."""
        found = {}
        for name, source in self.modules.items():
            held = [n for n in source.exported if self._builds_norms(f"{name}.{n}")]
            if held:
                found[name] = sorted(held)
        return found

    def resolve(self, qualified: str) -> str:
        """Where a name of the library is defined; the name itself where it is another's."""
        seen = set()
        while qualified not in seen:
            seen.add(qualified)
            module, _, rest = self._split(qualified)
            if not module or not rest:
                return qualified
            first, dot, more = rest.partition(".")
            target = self.modules[module].bound.get(first)
            if target is None or target == f"{module}.{first}":
                return qualified
            qualified = f"{target}{dot}{more}"
        return qualified

    def definition(self, qualified: str) -> tuple[Source, Definition] | None:
        """The class or function of the library that a name is."""
        module, _, rest = self._split(self.resolve(qualified))
        source = self.modules.get(module)
        found = source.definitions.get(rest) if source is not None else None
        return (source, found) if source is not None and found is not None else None

    def _split(self, qualified: str) -> tuple[str, str, str]:
        module = qualified
        while module and module not in self.modules:
            module = module.rpartition(".")[0]
        return module, ".", qualified[len(module) + 1 :]

    def _builds_norms(self, qualified: str) -> bool:
        qualified = self.resolve(qualified)
        return (
            qualified in self._naming_norms
            and self._derives(qualified, _MODULES)
            and not self._derives(qualified, _NORMS)
        )

    def _derives(self, qualified: str, wanted: frozenset[str]) -> bool:
        if qualified in wanted or (wanted is _MODULES and qualified in _torchvision_classes()):
            return True
        found = self.definition(qualified)
        if found is None or not isinstance(found[1], ast.ClassDef):
            return False
        source, owner = found
        bases = {self.resolve(source.qualified(base)) for base in owner.bases} - {qualified}
        return any(self._derives(base, wanted) for base in bases)

    @cached_property
    def _naming_norms(self) -> set[str]:
        """The definitions that name a batch norm, or what names one."""
        users: dict[str, set[str]] = {}
        for name, source in self.modules.items():
            for last, definition in source.definitions.items():
                for used in source.uses(definition):
                    users.setdefault(self.resolve(used), set()).add(f"{name}.{last}")
        found: set[str] = set()
        left = [*_NORMS, *_BACKBONES, *torchvision.names()]
        while left:
            for user in users.get(left.pop(), set()) - found:
                found.add(user)
                left.append(user)
        return found


class Source:
    """One module: what it defines, and what its names are bound to."""

    def __init__(self, library: Library, name: str, is_package: bool, text: str) -> None:
        self.library = library
        self.name = name
        self._package = name if is_package else name.rpartition(".")[0]
        self._imports_lazily = is_package and _LAZY_IMPORTS in text
        self._body = list(_statements(ast.parse(text).body))
        self.definitions = {
            s.name: s for s in self._body if isinstance(s, (ast.ClassDef, ast.FunctionDef))
        }

    @cached_property
    def bound(self) -> dict[str, str]:
        """What the names of the module are, by imports and definitions."""
        found = dict(self._imported_lazily())
        for statement in self._body:
            if isinstance(statement, ast.Import):
                for alias in statement.names:
                    root = alias.name.partition(".")[0]
                    found[alias.asname or root] = alias.name if alias.asname else root
            elif isinstance(statement, ast.ImportFrom):
                found.update(self._imported(statement))
            elif isinstance(statement, (ast.ClassDef, ast.FunctionDef)):
                found[statement.name] = f"{self.name}.{statement.name}"
        return found

    @cached_property
    def exported(self) -> list[str]:
        """The names that users take from this module: those of a package, or of its own."""
        if self.name == self._package:
            return [name for name in self.bound if not name.startswith("_")]
        return [name for name in self.definitions if not name.startswith("_")]

    def _imported_lazily(self) -> Iterator[tuple[str, str]]:
        if self._imports_lazily:
            for module, other in self.library.modules.items():
                if module.startswith(f"{self.name}."):
                    for name in other._listed() or ():
                        yield name, f"{module}.{name}"

    def _imported(self, statement: ast.ImportFrom) -> Iterator[tuple[str, str]]:
        module = statement.module or ""
        if statement.level:
            parts = self._package.split(".")
            above = ".".join(parts[: len(parts) - statement.level + 1])
            module = f"{above}.{module}".rstrip(".")
        for alias in statement.names:
            if alias.name != "*":
                yield alias.asname or alias.name, f"{module}.{alias.name}"
                continue
            other = self.library.modules.get(module)
            if other is not None and other is not self:
                for name in other._starred():
                    yield name, f"{module}.{name}"

    def _starred(self) -> list[str]:
        listed = self._listed()
        return [n for n in self.bound if not n.startswith("_")] if listed is None else listed

    def _listed(self) -> list[str] | None:
        """What ``__all__`` lists, if there is one."""
        for statement in self._body:
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
                return [
                    n.value
                    for n in ast.walk(statement.value)
                    if isinstance(n, ast.Constant) and isinstance(n.value, str)
                ]
        return None

    def qualified(self, node: ast.expr) -> str:
        """What an expression names; empty if it is no chain of names."""
        parts = []
        while isinstance(node, ast.Attribute):
            parts.insert(0, node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        return ".".join([self.bound.get(node.id, node.id), *parts])

    def uses(self, definition: Definition) -> Iterator[str]:
        """What a definition names, other than to test for it."""
        freezes = _FREEZER in ast.unparse(definition)
        left: list[ast.AST] = [definition]
        while left:
            node = left.pop()
            if isinstance(node, ast.FunctionDef) and node.name in _INITIALISERS:
                continue
            if isinstance(node, ast.Call) and self.qualified(node.func) in _TESTS:
                continue
            if isinstance(node, (ast.Attribute, ast.Name)):
                qualified = self.qualified(node)
                if qualified and not (freezes and self.library.resolve(qualified) in _BACKBONES):
                    yield qualified.replace("torch.nn.modules.batchnorm.", "torch.nn.")
                    continue
            for name, child in ast.iter_fields(node):
                if name not in ("annotation", "returns", "decorator_list"):
                    children = child if isinstance(child, list) else [child]
                    left += [c for c in children if isinstance(c, ast.AST)]


@cache
def _torchvision_classes() -> frozenset[str]:
    found = [torchvision.lookup(name) for name in torchvision.names()]
    return frozenset(b.name for b in found if b is not None and b.kind == "class")


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, those in branches included."""
    for statement in body:
        yield statement
        if isinstance(statement, (ast.If, ast.Try, ast.With)):
            for part in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(statement, part, []))
            for handler in getattr(statement, "handlers", []):
                yield from _statements(handler.body)
