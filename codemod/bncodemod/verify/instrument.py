"""Compiles the modules that hold sites with each value that makes norms marked.

``norm=X`` becomes ``norm=__bncodemod_site__(3, X)``; see ``marks``. The files of the project are
compiled so that ``is``, ``type`` and ``id`` see what stands behind what is marked.
"""

from __future__ import annotations

import ast
import importlib.abc
import importlib.machinery
import importlib.util
import os
import re
import sys
import types
from collections.abc import Sequence

from bncodemod.verify.marks import WATCHERS, at_number, number_of, plain
from bncodemod.verify.model import Site, SiteKind

_MARK, _PLAIN = "__bncodemod_site__", "__bncodemod_plain__"
# What in a file may tell a class from one that passes for it.
_TELLING = re.compile(rb"\bis\b(?!\s+(not\s+)?(None|True|False)\b)|\b(type|id)\(")
_TELLERS = ("type", "id")


class Finder(importlib.abc.MetaPathFinder):
    """Finds the modules that hold value sites and has them compiled with these marked.

    Those below ``root`` that may tell what is marked are compiled so that they cannot.
    """

    def __init__(self, sites: Sequence[Site], root: str = "") -> None:
        self._sites: dict[str, list[Site]] = {}
        for site in sites:
            if site.kind is SiteKind.VALUE or site.kind in WATCHERS:
                self._sites.setdefault(os.path.realpath(site.path), []).append(site)
        has_values = any(site.kind is SiteKind.VALUE for site in sites)
        self._root = os.path.join(os.path.realpath(root), "") if root and has_values else ""

    def __enter__(self) -> Finder:
        sys.meta_path.insert(0, self)
        return self

    def __exit__(self, *exception: object) -> None:
        sys.meta_path.remove(self)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        return self.instrumented(spec) if spec is not None else None

    def instrumented(
        self, spec: importlib.machinery.ModuleSpec
    ) -> importlib.machinery.ModuleSpec | None:
        """The same module, to be compiled with its sites marked; None where it stays as it is."""
        if type(spec.loader) is not importlib.machinery.SourceFileLoader:
            return None
        path = os.path.realpath(spec.origin or "")
        sites = self._sites.get(path, [])
        if not sites and not self._may_tell(spec.name, path):
            return None
        spec.loader = _Loader(spec.loader.name, spec.loader.path, sites)
        return spec

    def _may_tell(self, name: str, path: str) -> bool:
        """Whether a module of the project may tell what is marked from what it stands for."""
        if not self._root or not path.startswith(self._root) or name.split(".")[0] == "torch":
            return False
        with open(path, "rb") as file:
            return _TELLING.search(file.read()) is not None


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, fullname: str, path: str, sites: Sequence[Site]) -> None:
        super().__init__(fullname, path)
        self._sites = sites

    def get_code(self, fullname: str) -> types.CodeType:
        source = self.get_data(self.path)
        tree = ast.parse(source, self.path)
        _Marker(importlib.util.decode_source(source), self._sites).visit(tree)
        code: types.CodeType = compile(tree, self.path, "exec", dont_inherit=True)
        return code

    def exec_module(self, module: types.ModuleType) -> None:
        """Run the marked code; the unmarked one, where the marks are what makes it fail."""
        before = dict(module.__dict__)
        module.__dict__.update({_MARK: at_number, _PLAIN: plain})
        try:
            super().exec_module(module)
        except Exception as error:
            module.__dict__.clear()
            module.__dict__.update(before)
            try:
                importlib.machinery.SourceFileLoader(self.name, self.path).exec_module(module)
            except Exception:
                raise error from None


def _called(name: str, *arguments: ast.expr) -> ast.Call:
    """The code that calls one of the names that a module is given, in the place of an argument."""
    call = ast.Call(ast.Name(name, ast.Load()), list(arguments), [])
    for new in (call, call.func, *arguments[:-1]):
        ast.copy_location(new, arguments[-1])
    return call


def _marking(site: Site, node: ast.expr) -> ast.Call:
    """The code that marks the value of an expression as that of a site."""
    return _called(_MARK, ast.Constant(number_of(site)), node)


def _plainly(node: ast.expr) -> ast.expr:
    """The code that sees what stands behind the value of an expression."""
    return _called(_PLAIN, node)


class _Marker(ast.NodeTransformer):
    """Wraps the expressions at the sites, or what is called there, and what can tell marks."""

    def __init__(self, source: str, sites: Sequence[Site]) -> None:
        self._lines = source.split("\n")  # as ast counts: a form feed ends no line
        self._places = {
            (site.line, site.column, site.end_line, site.end_column): site for site in sites
        }

    def visit(self, node: ast.AST) -> ast.AST:
        node = self.generic_visit(node)
        _see_plainly(node)
        if not isinstance(node, (ast.expr, ast.With)):
            return node
        if isinstance(getattr(node, "ctx", None), ast.Store):
            return node
        site = self._places.pop(self._place(node), None)
        if site is None:
            return node
        calls = [item.context_expr for item in node.items] if isinstance(node, ast.With) else [node]
        if site.kind not in WATCHERS:
            return _marking(site, calls[0])
        for call in calls:
            if isinstance(call, ast.Call):
                call.func = _marking(site, call.func)
        return node

    def _place(self, node: ast.expr | ast.With) -> tuple[int, int, int, int]:
        end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or 0
        start = self._column(node.lineno, node.col_offset)
        return node.lineno, start, end_line, self._column(end_line, end_column)

    def _column(self, line: int, offset: int) -> int:
        """The column, from 1 and in characters, of a byte offset."""
        text = self._lines[line - 1] if line <= len(self._lines) else ""
        return offset + 1 if text.isascii() else len(text.encode()[:offset].decode()) + 1


def _see_plainly(node: ast.AST) -> None:
    """Have what can tell a marked class from its original be given the original."""
    if isinstance(node, ast.Compare) and any(isinstance(o, (ast.Is, ast.IsNot)) for o in node.ops):
        if any(isinstance(each, ast.Constant) for each in (node.left, *node.comparators)):
            return  # None, and the like
        node.left = _plainly(node.left)
        node.comparators = [_plainly(each) for each in node.comparators]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id in _TELLERS and len(node.args) == 1 and not node.keywords:
            if not isinstance(node.args[0], ast.Starred):
                node.args = [_plainly(node.args[0])]
