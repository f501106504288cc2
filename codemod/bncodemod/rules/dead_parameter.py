"""A parameter fed nothing but a norm's argument that the rewrite sets or drops: it is dead now.

Before:
    def conv_norm(c, track=True, momentum=0.1):
        return nn.Sequential(nn.Conv2d(c, c, 3), nn.BatchNorm2d(c, 1e-5, momentum, True, track))

Under no-running-stats ``track`` decides nothing any more, whatever a caller passes; under
group-norm nor does ``momentum``, which GroupNorm does not have. Said once at the parameter, and
only of names that speak of momentum or statistics. A parameter that is also read elsewhere, kept on
``self`` say, is left alone.

By hand: remove the parameter and what callers pass for it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import partial

from bncodemod.catalog.torch import FLAG
from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.mentions import Role
from bncodemod.scan.scopes import Function
from bncodemod.strategies.arguments import bind
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Open
from bncodemod.strategies.groups import HELPER

rule = Rule("BN312", "dead parameter", priority=18)

_KEPT = {FLAG: re.compile(r"track|stat(?:s|istics)")}
_GROUPED = {
    **_KEPT,
    "momentum": re.compile(r"mom"),
    "process_group": re.compile(r"process_group"),
}


@rule.finds
def dead_parameters(context: Context) -> Iterator[Match]:
    """Parameters of functions that build norms, read by no other argument than those that go."""
    gone = _KEPT if context.keeps_batch_norm else _GROUPED
    dropped = set(_dropped(context, gone))
    for function in _builders(context):
        for parameter in _parameters(function):
            if any(name.search(parameter.arg) for name in gone.values()):
                if set(_reads(context, parameter, function)) <= dropped:
                    yield Match(parameter, partial(_open, parameter.arg))


def _dropped(context: Context, gone: dict[str, re.Pattern[str]]) -> Iterator[ast.AST]:
    """The variables that stand for arguments which the rewrite sets or leaves out."""
    for mention in context.mentions:
        call = context.tree.parents.get(mention.node)
        if mention.norm.family == "batch" and isinstance(call, ast.Call):
            if mention.role in (Role.CALL, Role.PARTIAL):
                skip = int(mention.role is Role.PARTIAL)
                bound = bind(call, mention.norm.parameters, skip)
                refused = mention.norm.lazy and not context.keeps_batch_norm
                if not bound.opaque and not refused:
                    yield from (bound.value[name] for name in gone if name in bound.value)


def _builders(context: Context) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The functions in which a norm is built that is rewritten, or was."""
    built: list[ast.AST] = [
        m.node
        for m in context.mentions
        if m.norm.family == "batch" and m.role in (Role.CALL, Role.PARTIAL)
    ]
    if not context.keeps_batch_norm:
        built += context.tree.occurrences("GroupNorm")
        built += context.tree.occurrences(HELPER)
    found: dict[ast.FunctionDef | ast.AsyncFunctionDef, None] = {}
    for node in built:
        if isinstance(context.tree.parents.get(node), ast.Call):
            child = node
            for above in context.tree.ancestors(node):
                # What stands in a default is built by whoever calls the function's parameter.
                if isinstance(above, Function) and child in above.body:
                    if above.name.lstrip("_") != HELPER:
                        found[above] = None
                child = above
    yield from found


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    arguments = function.args
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]


def _reads(
    context: Context, parameter: ast.arg, function: ast.FunctionDef | ast.AsyncFunctionDef
) -> Iterator[ast.AST]:
    for node in context.tree.occurrences(parameter.arg, function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            bindings = context.names.scopes.reaching(node) or []
            if any(binding.node is parameter for binding in bindings):
                yield node


def _open(name: str) -> Open:
    return Open(
        f"{name} decides nothing once the norms here are rewritten",
        "remove the parameter, and what callers pass for it",
    )
