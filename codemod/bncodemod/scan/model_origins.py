"""The calls of other libraries that build what a module is made of, as far as a file shows them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator

from bncodemod.scan.callers import handed_to
from bncodemod.scan.model_places import CHAIN, COPIES, WRAPPERS
from bncodemod.scan.module_expressions import ModuleExpressions
from bncodemod.scan.names import Names
from bncodemod.scan.scopes import Binding, BindingKind, Function
from bncodemod.source.calls import arguments_of

# What gives whole models that were saved.
_LOADS = ("torch.load", "torch.jit.load")
_HOLDERS = (
    *WRAPPERS,
    "torch.nn.Sequential",
    "torch.nn.ModuleList",
    "builtins.list",
    "builtins.tuple",
    # They give a function that runs the modules, with their parameters.
    "functorch.combine_state_for_ensemble",
    "functorch.make_functional",
    "functorch.make_functional_with_buffers",
)


class Origins:
    """Follows modules of one file back to the calls that build them, or parts of them."""

    def __init__(self, names: Names, modules: ModuleExpressions) -> None:
        self._names = names
        self._tree = names.tree
        self._modules = modules

    def of(self, modules: Iterable[ast.expr]) -> list[ast.Call]:
        """The calls of what neither the file nor torch defines, in the order of the source."""
        seen: set[ast.AST] = set()
        found = {call for module in modules for call in self._of(module, seen)}
        return sorted(found, key=lambda call: (call.lineno, call.col_offset))

    def _of(self, node: ast.AST | None, seen: set[ast.AST]) -> Iterator[ast.Call]:
        if node is None or node in seen:
            return
        seen.add(node)
        for given in self._sources(node):
            if isinstance(given, ast.Call) and self._is_foreign(given):
                yield given
            else:
                yield from self._of(given, seen)

    def _sources(self, node: ast.AST) -> Iterator[ast.AST | None]:
        """What an expression takes its value from; itself if a library gives it."""
        if isinstance(node, ast.Call):
            yield from self._of_call(node)
        elif isinstance(node, ast.Name):
            for binding in self._names.scopes.reaching(node) or ():
                yield from self._of_binding(binding)
        elif isinstance(node, ast.Attribute):
            yield from self._modules.assigned(node)
        elif isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            yield from node.elts
        elif isinstance(node, (ast.ListComp, ast.GeneratorExp)):
            yield node.elt
        elif isinstance(node, ast.IfExp):
            yield from (node.body, node.orelse)
        elif isinstance(node, (ast.Subscript, ast.Starred)):
            yield node.value

    def _of_binding(self, binding: Binding) -> Iterator[ast.AST | None]:
        if binding.kind in (BindingKind.VALUE, BindingKind.ELEMENT):
            yield binding.value
        elif binding.kind is BindingKind.PARAMETER:
            yield from handed_to(self._tree, binding.node).values()

    def _of_call(self, call: ast.Call) -> Iterator[ast.AST | None]:
        function = call.func
        if isinstance(function, ast.Attribute) and function.attr in CHAIN:
            yield function.value
            return
        callee = self._names.qualified(function)
        if callee in COPIES or callee in _HOLDERS:
            yield from call.args
            return
        if self._is_foreign(call):
            yield call
        for meaning in self._names.meanings(function):
            if isinstance(meaning.definition, Function):
                for below in self._tree.walk_below(meaning.definition):
                    if isinstance(below, ast.Return):
                        yield below.value
            elif isinstance(meaning.definition, ast.ClassDef):
                yield from self._parts(meaning.definition)

    def _parts(self, owner: ast.ClassDef) -> Iterator[ast.AST]:
        """What a class of the file keeps as modules of its objects."""
        for node in self._tree.walk_below(owner):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                for target in node.targets:
                    if isinstance(target, ast.Attribute) and self._modules.is_module(target):
                        yield node.value

    def _is_foreign(self, call: ast.Call) -> bool:
        """Whether another library is called, and is not handed a module that it may wrap."""
        found = [meaning.qualified for meaning in self._names.meanings(call.func)]
        if not all(map(self._is_of_library, found)):
            return False
        return not any(map(self._modules.is_module, arguments_of(call)))

    def _is_of_library(self, qualified: str) -> bool:
        root = qualified.partition(".")[0]  # empty for a relative import as well
        if root in ("functorch", "torch"):
            return qualified in _LOADS
        is_builtin = root == "builtins" or root in sys.stdlib_module_names
        return bool(root) and not is_builtin and not self._names.index.is_own(qualified)
