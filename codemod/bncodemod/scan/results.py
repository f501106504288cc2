"""What becomes of what a statement computes: whether it is looked at, or learnt from."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

from bncodemod.scan.names import Names
from bncodemod.scan.scopes import BindingKind, Function
from bncodemod.source.calls import arguments_of

# What shows, writes or measures a value, and gives none that a model could learn from.
_SHOWS = re.compile(
    r"^(?:print|repr|str|format|len|float|int|round|isinstance|type|pprint)$"
    r"|(?:^|\.)(?:log(?:ger|ging|_\w+)?|writer|wandb|mlflow|tqdm|plt|axe?s?|fig|pbar|progress|bar"
    r"|history|meter|tracker)\.\w+$"
    r"|^torch\.save$|^(?:np|numpy)\.savez?\w*$|^json\.dump$|\.(?:set_postfix|add_scalar)$"
)
_ADDS = frozenset({"add", "append", "extend", "insert", "update"})
# What only gives a value.
_PURE = re.compile(
    r"^(?:torch|np|numpy|math|einops|F|functorch|statistics)\."
    r"|^(?:sum|min|max|abs|list|tuple|dict|sorted|zip|enumerate)$"
)
# Methods of a result that do more than give a value.
_ACTS = frozenset({"backward", "step", "register_hook", "retain_grad"})


def is_only_looked_at(names: Names, statement: ast.stmt) -> bool:
    """Whether nothing but output comes of what a statement computes, as far as its scope goes on.

    What is returned, kept in an object or handed to a function that may do anything with it is
    more than looked at; so is what decides whether other code runs.
    """
    scope = names.scopes.scope_of(statement)
    if isinstance(scope, ast.ClassDef):
        return False
    tainted: set[str] = set()
    seen: set[ast.stmt] = set()
    todo = [statement]
    while todo:
        current = todo.pop()
        if current in seen:
            continue
        seen.add(current)
        bound = _bound_by(names, current, tainted, is_source=current is statement)
        if bound is None:
            return False
        for name in bound - tainted:
            tainted.add(name)
            if any(b.kind is BindingKind.PARAMETER for b in names.scopes.bindings(scope, name)):
                return False  # the caller may have it as well
            if names.scopes.binding_scope(name, scope) is not scope:
                return False
            for read in _reads(names, name):
                if names.scopes.binding_scope(name, names.scopes.scope_of(read)) is scope:
                    if not _is_read_in(names, read, scope):
                        return False  # a function reads it
                    todo.append(names.tree.statement(read))
    return True


def _reads(names: Names, name: str) -> Iterator[ast.Name]:
    for node in names.tree.occurrences(name):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node


def _is_read_in(names: Names, node: ast.AST, scope: ast.AST) -> bool:
    """Whether a scope itself reads a name, also in a comprehension, and no function in it."""
    for above in names.tree.ancestors(node):
        if above is scope:
            return True
        if isinstance(above, (ast.Lambda, ast.ClassDef, *Function)):
            return False
    return isinstance(scope, ast.Module)


def _bound_by(
    names: Names, statement: ast.stmt, tainted: set[str], *, is_source: bool
) -> set[str] | None:
    """The variables that a statement hands a result on to; None if it goes where it is not seen."""
    if isinstance(statement, ast.Expr):
        return _of_call(names, statement.value, tainted, is_source=is_source)
    if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        value = statement.value
        if value is None or not (is_source or _calls_are_harmless(names, value, tainted)):
            return None
        return _targets(
            statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        )
    if isinstance(statement, (ast.For, ast.AsyncFor)) and not is_source:
        if not _calls_are_harmless(names, statement.iter, tainted):
            return None
        return _targets([statement.target])
    if isinstance(statement, ast.Assert) or (isinstance(statement, ast.Delete) and not is_source):
        return set()
    return None


def _of_call(
    names: Names, value: ast.expr, tainted: set[str], *, is_source: bool
) -> set[str] | None:
    """What a call that stands alone does with a result: it shows it, or adds it to a list."""
    if not isinstance(value, ast.Call):
        return set() if is_source or _calls_are_harmless(names, value, tainted) else None
    called = ast.unparse(value.func)
    given = arguments_of(value)
    is_seen = is_source or all(_calls_are_harmless(names, each, tainted) for each in given)
    if _SHOWS.search(called):
        return set() if is_seen else None
    function = value.func
    if isinstance(function, ast.Attribute) and function.attr in _ADDS:
        return _targets([function.value]) if is_seen else None
    return None


def _targets(targets: Sequence[ast.expr]) -> set[str] | None:
    """The variables that get a value, or part of one; None where an object gets it."""
    found: set[str] = set()
    for target in targets:
        if isinstance(target, (ast.Tuple, ast.List)):
            inner = _targets(target.elts)
        elif isinstance(target, (ast.Starred, ast.Subscript)):
            inner = _targets([target.value])
        else:
            inner = {target.id} if isinstance(target, ast.Name) else None
        if inner is None:
            return None
        found |= inner
    return found


def _calls_are_harmless(names: Names, value: ast.expr, tainted: set[str]) -> bool:
    """Whether no call in an expression gets a result that it might do anything with."""
    for node in ast.walk(value):
        if isinstance(node, (ast.Yield, ast.YieldFrom, ast.Await, ast.Lambda, ast.NamedExpr)):
            return False
        if not isinstance(node, ast.Call):
            continue
        given = arguments_of(node)
        reads = {n.id for each in given for n in ast.walk(each) if isinstance(n, ast.Name)}
        qualified = names.qualified(node.func).removeprefix("builtins.")
        called = qualified or ast.unparse(node.func)
        of_result = isinstance(node.func, ast.Attribute) and _root(node.func) in tainted
        if of_result and node.func.attr in _ACTS:  # type: ignore[attr-defined]
            return False
        if reads & tainted and not (of_result or _PURE.search(called) or _SHOWS.search(called)):
            return False
    return True


def _root(node: ast.expr) -> str:
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""
