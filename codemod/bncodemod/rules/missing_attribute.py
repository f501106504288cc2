"""An attribute that only batch norm has is read from a norm that becomes a GroupNorm.

Before:
    self.first = nn.BatchNorm2d(c)
    self.second = nn.BatchNorm2d(self.first.num_features * 2)

GroupNorm has ``num_channels`` and neither ``num_features`` nor ``momentum`` nor
``track_running_stats``: the read raises an AttributeError. Under no-running-stats nothing changes.
After ``--patch group-norm`` that is so of the models that are patched.

Where the norm is built elsewhere, it is known by its name (``net.bn1.num_features``); a module of
any kind (``m.num_features`` in a function that is given ``m``) may be a norm as well, unless an
``if`` around it asks what it is. Said once for each function.

By hand: read ``num_channels``, or keep the number in a variable.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import partial

from bncodemod.catalog.torch import NORM_CLASSES
from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.mentions import Role
from bncodemod.strategies.arguments import bind, copied_from
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Open
from bncodemod.strategies.groups import HELPER

rule = Rule("BN309", "attribute that GroupNorm lacks", priority=16, at_run_time=True)

_ONLY_BATCH_NORM = ("num_features", "momentum", "track_running_stats", "reset_running_stats")

_NORM = re.compile(r"norm|(?:^|_)bn|bn(?:$|_|\d)", re.IGNORECASE)
# What a module of any kind is called.
_MODULE = re.compile(r"(?:m|mod|module|layer|child|sub_?module|l|x)\d?")


@rule.finds
def missing_attributes(context: Context) -> Iterator[Match]:
    """Reads through the attribute or variable that a constructor call of this file is bound to."""
    is_patched = context.keeps_batch_norm
    if is_patched and not context.patches_to_group_norms:
        return
    built = [] if is_patched else _built(context)
    holders = {holder for call in built for holder in _holders(context, call)}
    said: set[tuple[ast.AST, str]] = set()
    for name in _ONLY_BATCH_NORM:
        for node in context.tree.occurrences(name):
            if not isinstance(node, ast.Attribute) or not isinstance(node.ctx, ast.Load):
                continue
            if _name(node.value) in holders or node.value in built:
                yield Match(node, partial(_open, node.attr))
            elif _may_be_norm(node) and not _is_asked_for(context, node):
                if is_patched and context.patches.keeps(node):
                    continue
                place = context.names.scopes.scope_of(node), _name(node.value)
                if place not in said:
                    said.add(place)
                    yield Match(node, partial(_open, ast.unparse(node)))


def _built(context: Context) -> list[ast.AST]:
    """The calls of the source that build norms."""
    built = [
        context.tree.parent(mention.node)
        for mention in context.mentions
        if mention.role is Role.CALL and mention.norm.family == "batch"
    ]
    for name in ("GroupNorm", HELPER):
        for node in context.tree.occurrences(name):
            call = context.tree.parents.get(node)
            if isinstance(call, ast.Call) and node is call.func:
                built.append(call)
    return built


def _may_be_norm(node: ast.Attribute) -> bool:
    """Whether what an attribute is read from has a norm's name, or one that any module has."""
    name = _name(node.value).lstrip(".")
    if isinstance(node.value, ast.Subscript):
        name = _name(node.value.value).lstrip(".")
    if _NORM.search(name):
        return True
    plain = isinstance(node.value, ast.Name) and _MODULE.fullmatch(name) is not None
    return plain and node.attr in ("num_features", "reset_running_stats")


def _is_asked_for(context: Context, node: ast.Attribute) -> bool:
    """Whether a test around a read, or beside it, asks what kind of module it is.

    A norm that is built as a copy of another one is reported as such.
    """
    subject = ast.unparse(node.value)
    for above in context.tree.ancestors(node):
        if isinstance(above, ast.Call) and context.names.norms(above.func):
            if copied_from(bind(above, NORM_CLASSES["BatchNorm2d"].parameters)) == subject:
                return True
        if isinstance(above, (ast.If, ast.IfExp, ast.BoolOp, ast.While)):
            tested = above.values[0] if isinstance(above, ast.BoolOp) else above.test
            if any(_asks(call, subject) for call in ast.walk(tested)):
                return True
    return False


def _asks(node: ast.AST, subject: str) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr == "__class__" and ast.unparse(node.value) == subject
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("isinstance", "hasattr", "type")
        and bool(node.args)
        and ast.unparse(node.args[0]) == subject
    )


def _holders(context: Context, call: ast.AST) -> Iterator[str]:
    statement = context.tree.parents.get(call)
    if isinstance(statement, ast.Assign):
        yield from filter(None, map(_name, statement.targets))
    elif isinstance(statement, ast.AnnAssign):
        yield _name(statement.target)


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f".{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _open(what: str) -> Open:
    return Open(
        f"{what} of a norm is read here, which a GroupNorm does not have",
        "read num_channels, or keep the number in a variable",
    )
