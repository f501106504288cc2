"""Calls with literal arguments in a project's own code: how it builds and feeds its models.

A function's own parameters count as literal where their defaults are: in ``def net18(pretrained=
False, **kwargs): return net(18, pretrained=pretrained, **kwargs)`` the call is ``net(18,
pretrained=False)``. So do constants of the file, as ``WIDTH = 18``.
"""

from __future__ import annotations

import ast
import doctest
import itertools
import warnings
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping

from bncodemod.source.calls import arguments_of
from bncodemod.source.dotted_names import dotted, last_name
from bncodemod.source.errors import SourceError
from bncodemod.source.text import SourceText
from bncodemod.verify.model import Example

_MAKE_TENSORS = frozenset({"randn", "rand", "zeros", "ones", "empty"})
_MAX_SIZE = 2048  # what a literal shape may say of one axis and still be tried as it is


def definitions(data: bytes) -> set[str]:
    """The classes and functions at the top level of a file; none if it is broken.

    And the methods that are called on such a class, by a dotted name.
    """
    tree = _parsed(data)
    found: set[str] = set()
    for statement in tree.body if tree else ():
        if isinstance(statement, ast.FunctionDef):
            found.add(statement.name)
        elif isinstance(statement, ast.ClassDef):
            methods = [each for each in statement.body if isinstance(each, ast.FunctionDef)]
            called = [each.name for each in methods if any(map(_of_class, each.decorator_list))]
            found |= {statement.name, *(f"{statement.name}.{name}" for name in called)}
    return found


def _of_class(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Name) and decorator.id in ("classmethod", "staticmethod")


def literal_calls(data: bytes, names: Iterable[str]) -> list[Example]:
    """The calls of ``names`` whose arguments are literals, each once, with the inputs fed to them.

    Those in the examples of docstrings are among them.

    The inputs are the shapes of ``model(torch.randn(2, 3, 32, 32))`` where ``model`` is a variable
    that the call is assigned to.
    """
    wanted = {name for name in names if name.encode() in data}  # dotted as well
    tree = _parsed(data) if wanted else None
    if tree is None:
        return []
    found: dict[tuple[str, str], Example] = {}
    constants = _constants(tree)
    for function, scope in itertools.chain(_scopes(tree), *map(_scopes, _docstring_examples(tree))):
        fed = dict(_fed(scope))
        known = _Known(function, scope, constants)
        for target, made in _calls(scope):
            name = _name(made.func, wanted)
            call = known.filled(made) if name in wanted else made
            if name in wanted and _is_literal(call):
                example = Example(name, _arguments(call), fed.get(target, ()))
                key = example.name, example.arguments
                if key not in found or (example.inputs and not found[key].inputs):
                    found[key] = example
    return list(found.values())


def _parsed(data: bytes) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(SourceText.decode(data).text)
    except (SourceError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _docstring_examples(tree: ast.Module) -> Iterator[ast.Module]:
    """What stands behind ``>>>`` in the docstrings, as far as it is Python."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            text = ast.get_docstring(node) or ""
            try:
                found = doctest.DocTestParser().get_examples(text) if ">>>" in text else ()
            except ValueError:  # badly indented
                continue
            example = _parsed("".join(each.source for each in found).encode())
            if example is not None:
                yield example


def _scopes(tree: ast.Module) -> Iterator[tuple[ast.AST, list[ast.AST]]]:
    """The nodes of the module and of each function, without those of the functions inside."""
    todo: deque[ast.AST] = deque([tree])
    while todo:
        holder = todo.popleft()
        scope: list[ast.AST] = []
        stack = list(ast.iter_child_nodes(holder))[::-1]
        while stack:
            node = stack.pop()
            scope.append(node)
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                todo.append(node)
            else:
                stack.extend(list(ast.iter_child_nodes(node))[::-1])
        yield holder, scope


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    """The names that a file assigns to once, at its top level, by their values."""
    stores = Counter(
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    )
    return {
        statement.targets[0].id: statement.value
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        and stores[statement.targets[0].id] == 1
    }


class _Known:
    """What names stand for where a function is called without arguments."""

    def __init__(
        self, function: ast.AST, scope: list[ast.AST], constants: Mapping[str, ast.expr]
    ) -> None:
        self._values = dict(constants)
        self._rest = ""  # the name of **kwargs
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return
        given = function.args
        positional = [*given.posonlyargs, *given.args]
        pairs = [
            *zip(reversed(positional), reversed(given.defaults), strict=False),
            *zip(given.kwonlyargs, given.kw_defaults, strict=True),
        ]
        changed = {n.id for n in scope if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        own = {each.arg for each in (*positional, *given.kwonlyargs)} | changed
        defaults = {p.arg: self._value(v) for p, v in pairs if v and p.arg not in changed}
        self._values = {name: v for name, v in constants.items() if name not in own} | defaults
        self._rest = given.kwarg.arg if given.kwarg else ""

    def filled(self, call: ast.Call) -> ast.Call:
        """The call with values in place of names, and without ``**kwargs``."""
        if not self._values and not self._rest:
            return call
        keywords = [
            ast.keyword(each.arg, self._value(each.value))
            for each in call.keywords
            if each.arg or not self._is_rest(each.value)
        ]
        return ast.Call(call.func, [self._value(each) for each in call.args], keywords)

    def _value(self, node: ast.expr) -> ast.expr:
        return self._values.get(node.id, node) if isinstance(node, ast.Name) else node

    def _is_rest(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id == self._rest


def _calls(scope: list[ast.AST]) -> Iterator[tuple[str, ast.Call]]:
    """The calls of a scope, each with the variable that it is assigned to."""
    targets: dict[ast.AST, str] = {}
    for node in scope:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            value = node.value
            # net = Net(3).cuda().eval()
            while isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
                targets[value] = ast.unparse(node.targets[0])
                value = value.func.value
            targets[value] = ast.unparse(node.targets[0])
    for node in scope:
        if isinstance(node, ast.Call):
            yield targets.get(node, ""), node


def _fed(scope: list[ast.AST]) -> Iterator[tuple[str, tuple[tuple[int, ...], ...]]]:
    """The variables that are called with tensors of literal shapes, and these shapes."""
    tensors = {
        ast.unparse(node.targets[0]): shape
        for node in scope
        if isinstance(node, ast.Assign) and len(node.targets) == 1
        for shape in [_shape(node.value)]
        if shape
    }
    for node in scope:
        if isinstance(node, ast.Call) and node.args and not node.keywords:
            shapes = [_shape(arg) or tensors.get(ast.unparse(arg)) for arg in node.args]
            known = tuple(shape for shape in shapes if shape)
            if len(known) == len(shapes):
                yield ast.unparse(node.func), known


def _shape(node: ast.expr) -> tuple[int, ...] | None:
    """The shape of ``torch.randn(2, 3, 32, 32)``, with ``.cuda()`` and the like behind it."""
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr in _MAKE_TENSORS:
            sizes = node.args
            if len(sizes) == 1 and isinstance(sizes[0], (ast.Tuple, ast.List)):
                sizes = sizes[0].elts
            literal = [s.value for s in sizes if isinstance(s, ast.Constant)]
            shape = tuple(s for s in literal if type(s) is int and 0 < s <= _MAX_SIZE)
            return shape if shape and len(shape) == len(sizes) else None
        node = node.func.value
    return None


def _name(func: ast.expr, wanted: set[str]) -> str:
    """What is called: a method by its class where that is wanted, all else by its last name."""
    method = ".".join(dotted(func).split(".")[-2:])
    return method if method in wanted else last_name(func)


def _is_literal(call: ast.Call) -> bool:
    named = all(keyword.arg for keyword in call.keywords)
    try:
        for value in arguments_of(call):
            ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return named


def _arguments(call: ast.Call) -> str:
    return ", ".join(ast.unparse(argument) for argument in (*call.args, *call.keywords))
