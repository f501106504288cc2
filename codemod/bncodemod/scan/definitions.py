"""What the definitions of a module use, one by one: by which names one leads to others."""

from __future__ import annotations

import ast
import copy
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from bncodemod.scan.scopes import Function
from bncodemod.source.dotted_names import dotted, last_name, root_of

# Not an attribute: ``nn.BatchNorm2d`` may stand where a class of that name is defined.
_PLAIN_NAME = re.compile(r"(?<![.\w])\w+")


@dataclass(frozen=True, slots=True)
class Use:
    """A dotted name that is used, with what a call gives there: the defaults of that do not count.

    ``given`` are the keywords, ``places`` is the number of arguments by position.
    """

    name: str
    given: frozenset[str] = frozenset()
    places: int = 0


class Definitions:
    """The statements of a module by the names that they bind, or write into, at its top.

    Raises what ``ast.parse`` raises.
    """

    def __init__(self, data: bytes) -> None:
        self._tree = ast.parse(data)

    @cached_property
    def _by_name(self) -> dict[str, list[ast.stmt]]:
        found: dict[str, list[ast.stmt]] = defaultdict(list)
        todo: list[ast.AST] = [*self._tree.body]
        while todo:
            node = todo.pop()
            if isinstance(node, (ast.ClassDef, *Function)):
                found[node.name].append(node)
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                continue
            elif isinstance(node, ast.stmt):
                inner = [n for n in ast.iter_child_nodes(node) if not isinstance(n, ast.expr)]
                todo += inner
                if not any(isinstance(n, ast.stmt) for n in inner):
                    for name in _written(node):
                        found[name].append(node)
            elif not isinstance(node, ast.expr_context):
                todo += ast.iter_child_nodes(node)
        return found

    @cached_property
    def _imports(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for node in ast.walk(self._tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                for item in node.names:
                    found[(item.asname or item.name).partition(".")[0]].append(ast.unparse(node))
        return found

    def has(self, name: str) -> bool:
        """Whether a name is bound, or written into, by other than an import."""
        return name in self._by_name

    def of(self, use: Use) -> list[ast.stmt]:
        """What defines the first part of a name, less the defaults of what is given there.

        ``*`` is all that the module defines.
        """
        if use.name == "*":
            return [node for nodes in self._by_name.values() for node in nodes]
        nodes = self._by_name.get(use.name.partition(".")[0], [])
        return [_with_arguments(node, use) for node in nodes]

    def text(self, node: ast.stmt) -> bytes:
        """A definition, and the imports of the names that it uses.

        It comes without what is only said in it, and without the names of other definitions.
        """
        roots = {use.name.partition(".")[0] for use in uses_in(node)} | {"*"}
        imports = dict.fromkeys(
            line for root in sorted(roots) for line in self._imports.get(root, ())
        )
        code = _PLAIN_NAME.sub(self._unless_defined, ast.unparse(_WithoutDocs().visit(node)))
        return "\n".join([code, *imports]).encode()

    def _unless_defined(self, name: re.Match[str]) -> str:
        return "" if name[0] in self._by_name else name[0]


class _WithoutDocs(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        return ast.Pass() if isinstance(node.value, ast.Constant) else node


def _written(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement binds or writes into, or of which it calls a method."""
    for node in ast.walk(statement):
        if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)):
            if isinstance(node.ctx, ast.Store):
                yield last_name(root_of(node))
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        yield last_name(root_of(statement.value.func))


def uses_in(node: ast.AST) -> Iterator[Use]:
    """The names that a statement uses, each as far as it is dotted."""
    seen: set[ast.AST] = set()
    for part in ast.walk(node):
        if isinstance(part, ast.ClassDef):
            for base in part.bases:
                seen.add(base)
                yield from _dotted_use(base, seen, *_given_to_base(part))
        elif isinstance(part, ast.Call) and part not in seen:
            seen.add(part.func)
            if attribute := _named_attribute(part):
                seen.update(ast.walk(part.args[0]))
                yield Use(attribute)
            else:
                yield from _dotted_use(part.func, seen, *_given(part))
        elif isinstance(part, ast.Compare):
            # No model keeps what is compared: ``if type(self) == Net``.
            for operand in (part.left, *part.comparators):
                compared = list(ast.walk(operand))
                if not any(isinstance(node, ast.NamedExpr) for node in compared):
                    seen.update(compared)
        elif isinstance(part, (ast.Name, ast.Attribute)) and part not in seen:
            yield from _dotted_use(part, seen)


def _named_attribute(call: ast.Call) -> str:
    """The attribute that a call gets by a name which is written out: ``getattr(nets, "Net")``."""
    if dotted(call.func) != "getattr" or len(call.args) < 2:
        return ""
    owner, name = dotted(call.args[0]), getattr(call.args[1], "value", None)
    return f"{owner}.{name}" if owner and isinstance(name, str) else ""


def _dotted_use(
    node: ast.expr, seen: set[ast.AST], given: frozenset[str] = frozenset(), places: int = 0
) -> Iterator[Use]:
    name = dotted(node)
    if name:
        yield Use(name, given, places)
        while isinstance(node, ast.Attribute):
            node = node.value
            seen.add(node)
    elif not isinstance(node, (ast.Name, ast.Attribute)):
        seen.discard(node)


def _given(call: ast.Call) -> tuple[frozenset[str], int]:
    places = 0
    for argument in call.args:
        if isinstance(argument, ast.Starred):
            break
        places += 1
    return frozenset(keyword.arg for keyword in call.keywords if keyword.arg), places


def _given_to_base(node: ast.ClassDef) -> tuple[frozenset[str], int]:
    """What the ``__init__`` of a class gives to that of its only base."""
    own = _own_init(node)
    calls = [
        call
        for call in ast.walk(own or ast.Pass())
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "__init__"
    ]
    if len(calls) != 1 or len(node.bases) != 1 or dotted(calls[0].func):
        return frozenset(), 0
    return _given(calls[0])


def _own_init(node: ast.ClassDef) -> ast.FunctionDef | None:
    inits = (n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
    return next(inits, None)


def _with_arguments(node: ast.stmt, use: Use) -> ast.stmt:
    """A definition without the defaults of the parameters that a call gives."""
    if "." in use.name or not (use.given or use.places):
        return node
    if isinstance(node, Function):
        return _without_defaults(node, use.given, use.places)
    own = _own_init(node) if isinstance(node, ast.ClassDef) else None
    if not isinstance(node, ast.ClassDef) or own is None:
        return node
    changed = copy.copy(node)
    called = _without_defaults(own, use.given, use.places + 1)  # the first is ``self``
    changed.body = [called if part is own else part for part in node.body]
    return changed


def _without_defaults(
    function: ast.FunctionDef | ast.AsyncFunctionDef, given: frozenset[str], places: int
) -> ast.FunctionDef | ast.AsyncFunctionDef:
    arguments = copy.copy(function.args)
    positional = [*arguments.posonlyargs, *arguments.args]
    first = len(positional) - len(arguments.defaults)
    arguments.defaults = [
        ast.Constant(None) if first + at < places or positional[first + at].arg in given else value
        for at, value in enumerate(arguments.defaults)
    ]
    arguments.kw_defaults = [
        ast.Constant(None) if value is not None and parameter.arg in given else value
        for parameter, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    changed = copy.copy(function)
    changed.args = arguments
    return changed
