"""What a call calls, as far as the file shows it, and what becomes of its arguments there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from bncodemod.scan.names import Names
from bncodemod.scan.parameters import is_super_init
from bncodemod.scan.scopes import Function
from bncodemod.source.dotted_names import last_name

_CLASS_CALLEE = re.compile(
    r"regist|isinstance|issubclass|find|filter|exclu|skip|convert|replace|swap|count|patch|policy"
    r"|getsource|getmodule|isclass|hasattr|named_modules|_types?$|^type$|modules_of|^assert|^__",
    re.IGNORECASE,
)
_CLASS_KEYWORD = re.compile(r"class(?:es)?(?:_|$)|_cls$|^cls$|types?$|kinds?$", re.IGNORECASE)
_SET_METHODS = frozenset(
    {"issubset", "issuperset", "isdisjoint", "intersection", "union", "difference", "index"}
)
_KEYED_METHODS = frozenset({"get", "pop", "setdefault"})


def may_need_class(call: ast.Call, keyword: str) -> bool:
    """Whether the names of a callee, or of the keyword, speak of classes."""
    callee = _CLASS_CALLEE.search(_last_names(call.func))
    return callee is not None or keyword_of_class(keyword)


def keyword_of_class(keyword: str) -> bool:
    """Whether a keyword's name says that it takes a class."""
    return _CLASS_KEYWORD.search(keyword) is not None


def is_key(call: ast.Call, position: int | None) -> bool:
    """Whether an argument is what a method looks up: ``table.get(nn.BatchNorm2d)``."""
    if not isinstance(call.func, ast.Attribute) or position is None:
        return False
    name = call.func.attr
    return name in _SET_METHODS or (name in _KEYED_METHODS and position == 0)


def asked_types(names: Names, call: ast.Call) -> set[str]:
    """The classes of ``isinstance(value, …)``."""
    if len(call.args) < 2:
        return set()
    asked = call.args[1].elts if isinstance(call.args[1], ast.Tuple) else [call.args[1]]
    return {names.qualified(a) for a in asked}


def definitions(names: Names, func: ast.expr) -> list[ast.AST]:
    """The functions and classes of this file that a call may reach, methods by their name."""
    if is_super_init(func):
        return []
    found = [m.definition for m in names.meanings(func) if m.definition is not None]
    if not found and isinstance(func, ast.Attribute) and not names.qualified(func):
        found = [n for n in names.tree.occurrences(func.attr) if isinstance(n, Function)]
    return found


def bases_that_take(names: Names, func: ast.expr) -> list[ast.expr]:
    """The bases whose ``__init__`` is called by ``super().__init__`` or by building a class."""
    if is_super_init(func):
        owners = enclosing_classes(names, func)[:1]
    else:
        found = (meaning.definition for meaning in names.meanings(func))
        owners = [d for d in found if isinstance(d, ast.ClassDef) and not _takes_arguments(d)]
    for owner in owners:
        names.tree.expand(owner)
    return [base for owner in owners for base in owner.bases if not _is_module_class(names, base)]


def enclosing_classes(names: Names, node: ast.AST) -> list[ast.ClassDef]:
    """The classes around a node, the nearest first."""
    return [above for above in names.tree.ancestors(node) if isinstance(above, ast.ClassDef)]


def foreign_bases(
    names: Names, owner: ast.ClassDef, below: tuple[ast.AST, ...] = ()
) -> Iterator[str]:
    """The bases from other files of a class, and of those of this file that it derives from."""
    for base in owner.bases:
        for meaning in names.meanings(base):
            if isinstance(meaning.definition, ast.ClassDef) and meaning.definition not in below:
                yield from foreign_bases(names, meaning.definition, (*below, owner))
            elif meaning.qualified and not _is_module_class(names, base):
                yield meaning.qualified


def may_be_method(names: Names, func: ast.expr) -> bool:
    """Whether a callee is an attribute that the file does not itself set: no stored callable."""
    return isinstance(func, ast.Attribute) and not any(
        isinstance(getattr(node, "ctx", None), ast.Store)
        for node in names.tree.occurrences(func.attr)
    )


def call_of(func: ast.expr, like: ast.Call) -> ast.Call:
    """A call of another callable with the same arguments, for looking up where they go."""
    return ast.copy_location(ast.Call(func, like.args, like.keywords), like)


def _is_module_class(names: Names, base: ast.expr) -> bool:
    return names.qualified(base).startswith(("torch.", "builtins.", "typing."))


def _takes_arguments(definition: ast.ClassDef) -> bool:
    """Whether a class says itself what it is built from: by ``__init__`` or by fields."""
    return any(
        (isinstance(s, Function) and s.name in ("__init__", "__new__"))
        or isinstance(s, ast.AnnAssign)
        for s in definition.body
    )


def _last_names(node: ast.AST) -> str:
    """The last name of a dotted expression, with the one before it: ``patch.object``."""
    if isinstance(node, ast.Attribute):
        return f"{node.attr} {last_name(node.value)}"
    return last_name(node)
