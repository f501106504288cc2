"""A name that looks like batch norm comes from elsewhere, or may be torch's or another's.

Before:
    from pkg.layers import BatchNorm2d
    try:
        from apex.parallel import SyncBatchNorm as BatchNorm
    except ImportError:
        from torch.nn import BatchNorm2d as BatchNorm

A file seen by itself does not say what ``pkg.layers`` exports, and which branch is taken is known
only at run time. A name of another framework (paddle, flax …) is left alone.

By hand: if it is torch's class, or derives from it, pass ``track_running_stats=False`` where it is
built.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import partial

from bncodemod.catalog.torch import FLAG, NORM_CLASSES, OTHER_FRAMEWORKS, norm_class
from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.libraries import named
from bncodemod.scan.mentions import Role, role
from bncodemod.scan.names import Meaning
from bncodemod.scan.scopes import imported
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Decision, Open, Safe

rule = Rule("BN203", "ambiguous name", priority=20)

_BATCH_NORM = re.compile(r"^(?!Frozen)\w*BatchNorm(?!Module|s$|Config|Params|Parameters|Fold)\w*$")
_REMEDY = (
    "if it is torch's class or derives from it, pass track_running_stats=False where it is built"
)


@rule.finds
def ambiguous_names(context: Context) -> Iterator[Match]:
    """Imports, attributes and variables that are spelled like batch norm and are not torch's."""
    tree = context.tree
    for word in filter(_BATCH_NORM.match, tree.words_with("BatchNorm")):
        for node in tree.occurrences(word):
            if isinstance(node, ast.alias):
                yield from _imported(context, node)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                yield from _attribute(context, node)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield from _assigned(context, node)
    for alias in tree.of_type(ast.alias):
        if alias.asname and _BATCH_NORM.match(alias.name):
            yield from _imported(context, alias)
    yield from _of_several_files(context)
    yield from _mixed(context)


def _of_several_files(context: Context) -> Iterator[Match]:
    """Imports that bring in a norm or something else, by how the program is started."""
    ambiguous = context.names.index.ambiguous
    if ambiguous:
        context.tree.expand_imports()
        for alias in context.tree.of_type(ast.alias):
            found = ambiguous.get(imported(alias, context.tree.parent(alias)))
            if found is not None:
                yield Match(alias, partial(Open, f"{alias.name} may be {found}", _REMEDY))


def _imported(context: Context, alias: ast.alias) -> Iterator[Match]:
    statement = context.tree.parent(alias)
    if not isinstance(statement, ast.ImportFrom) or not _BATCH_NORM.match(alias.name):
        return
    module = "." * statement.level + (statement.module or "")
    if _is_foreign(module) or _resolves(context, module, alias.name):
        return
    yield Match(
        alias,
        lambda: Open(f"{alias.name} is imported from {module}, which is not seen here", _REMEDY),
    )
    for node in context.tree.occurrences(alias.asname or alias.name):
        call = context.tree.parents.get(node)
        if isinstance(call, ast.Call) and node is call.func and _switches_on(call):
            yield Match(call, partial(_open_switched_on, alias.name))


def _switches_on(call: ast.Call) -> bool:
    """Whether a call asks for running statistics by name."""
    return any(
        keyword.arg == FLAG
        and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
        for keyword in call.keywords
    )


def _open_switched_on(name: str) -> Open:
    return Open(f"{name} is asked for running statistics here", f"pass {FLAG}=False")


def _attribute(context: Context, node: ast.Attribute) -> Iterator[Match]:
    """``layers.BatchNorm2d`` where ``layers`` is a module that is not seen."""
    qualified = context.names.qualified(node)
    if not qualified:
        yield from _of_unknown_object(context, node)
        return
    module = qualified.rpartition(".")[0]
    if _is_foreign(module) or norm_class(qualified) or qualified in context.names.index.names:
        return
    if module.startswith("builtins."):
        return
    yield Match(
        node, lambda: Open(f"{node.attr} comes from {module}, which is not seen here", _REMEDY)
    )


def _of_unknown_object(context: Context, node: ast.Attribute) -> Iterator[Match]:
    """``lib.BatchNorm2d`` where ``lib`` is a parameter, or an attribute: it may be torch.nn."""
    of_self = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
    meanings = context.names.meanings(node)
    if of_self or node.attr not in NORM_CLASSES or any(m.qualified for m in meanings):
        return
    if _is_built(context, node):
        yield Match(
            node,
            lambda: Open(
                f"{node.attr} of an object that is not known here, which may be torch.nn", _REMEDY
            ),
        )


def _assigned(context: Context, node: ast.Name) -> Iterator[Match]:
    """``BatchNorm2d = something else``: the calls below are not torch's."""
    if node.id not in NORM_CLASSES:
        return
    scope = context.names.scopes.scope_of(node)
    for binding in context.names.scopes.bindings(scope, node.id):
        if binding.node is node and binding.value is not None:
            meanings = context.names.meanings(binding.value)
            known = any(norm_class(m.qualified) or m.definition for m in meanings)
            if not known and not _is_norm_factory(context, binding.value):
                yield Match(
                    node, lambda: Safe(f"{node.id} is bound here to something that is not torch's")
                )


def _is_norm_factory(context: Context, value: ast.AST) -> bool:
    """Whether a partial of a torch norm is bound: the calls below do build one."""
    return (
        isinstance(value, ast.Call)
        and bool(value.args)
        and context.names.qualified(value.func) == "functools.partial"
        and bool(context.names.norms(value.args[0]))
    )


def _mixed(context: Context) -> Iterator[Match]:
    """Reads of a name that may be a norm, torch's or the project's, or something else."""
    index = context.names.index
    nodes: list[ast.AST] = []
    for word in context.tree.words_with("BatchNorm"):
        nodes += context.tree.occurrences(word)
    for word in sorted({spelled.rpartition(".")[2] for spelled in index.subclasses}):
        nodes += named(context.names, word)
    for node in dict.fromkeys(nodes):
        if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load):
            meanings = context.names.meanings(node)
            norms = [m for m in meanings if index.norm(m.qualified) and not m.through]
            if norms and len(norms) < len(meanings) and _is_built(context, node):
                yield Match(node, partial(_open_mixed, meanings))


def _is_built(context: Context, node: ast.expr) -> bool:
    return role(context.names, node) in (Role.CALL, Role.PARTIAL, Role.BASE, Role.VALUE)


def _open_mixed(meanings: tuple[Meaning, ...]) -> Decision:
    kinds = [m.qualified or "a value of its own" for m in meanings]
    return Open(f"this builds {' or '.join(dict.fromkeys(kinds))}", _REMEDY)


def _is_foreign(module: str) -> bool:
    root = module.partition(".")[0]
    return root in OTHER_FRAMEWORKS or root == "torch"


def _resolves(context: Context, module: str, name: str) -> bool:
    separator = "" if module.endswith(".") else "."
    return f"{module}{separator}{name}" in context.names.index.names
