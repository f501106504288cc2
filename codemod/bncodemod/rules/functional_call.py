"""``F.batch_norm`` is called with running statistics of its own.

The same in-place update as in a module, with the buffers given by hand.

Before:
    y = F.batch_norm(x, self.running_mean, self.running_var, training=self.training)

Safe where both buffers are None, where ``training`` is False, and in a subclass of batch norm that
hands them on only if ``track_running_stats`` is set (as torch's own forward does).

By hand: pass ``None, None`` and ``training=True``, or use a GroupNorm.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial

from bncodemod.catalog.torch import FLAG, FUNCTIONS, Functional
from bncodemod.rules.rule import Match, Rule
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Decision, Open, Safe

rule = Rule("BN104", "functional call")


@rule.finds
def functional_calls(context: Context) -> Iterator[Match]:
    """Every call of a functional norm that is given buffers."""
    for call, function in functional_norms(context, context.tree.module):
        yield Match(call, partial(_decide, context, call, function))


def functional_norms(context: Context, within: ast.AST) -> Iterator[tuple[ast.Call, Functional]]:
    """The calls of functional norms below a node."""
    for name in {qualified.rpartition(".")[2] for qualified in FUNCTIONS}:
        for node in context.tree.occurrences(name):
            call = context.tree.parents.get(node)
            if not isinstance(call, ast.Call) or node is not call.func:
                continue
            function = FUNCTIONS.get(context.names.qualified(node))
            if function is not None and _is_below(context, call, within):
                yield call, function


def hands_on_by_flag(call: ast.Call, function: Functional) -> bool:
    """Whether the buffers reach the call only if ``track_running_stats`` is set."""
    buffers = [_argument(call, function.running_mean), _argument(call, function.running_var)]
    return all(
        isinstance(buffer, ast.IfExp)
        and any(isinstance(n, ast.Attribute) and n.attr == FLAG for n in ast.walk(buffer.test))
        for buffer in buffers
    )


def _decide(context: Context, call: ast.Call, function: Functional) -> Decision:
    mean = _argument(call, function.running_mean)
    var = _argument(call, function.running_var)
    if any(isinstance(a, ast.Starred) for a in call.args) or any(
        k.arg is None for k in call.keywords
    ):
        return _open("stars may hide running statistics")
    if _is_none(mean) and _is_none(var):
        return Safe("keeps no running statistics")
    flag = _argument(call, function.flag)
    if flag is None and function.flag_default is False:
        return Safe("training is False: the statistics are read, not updated")
    if isinstance(flag, ast.Constant) and flag.value is False:
        return Safe(f"{function.flag[1]} is False: the statistics are read, not updated")
    if hands_on_by_flag(call, function):
        return Safe("the statistics are handed on only if track_running_stats is set")
    return _open("running statistics are updated in place")


def _open(what: str) -> Open:
    return Open(
        f"{what}, which vmap refuses",
        "pass None, None and training=True, or normalise with F.group_norm",
    )


def _argument(call: ast.Call, parameter: tuple[int, str]) -> ast.expr | None:
    position, name = parameter
    if position < len(call.args):
        return call.args[position]
    return next((k.value for k in call.keywords if k.arg == name), None)


def _is_none(node: ast.expr | None) -> bool:
    return node is None or (isinstance(node, ast.Constant) and node.value is None)


def _is_below(context: Context, node: ast.AST, holder: ast.AST) -> bool:
    return any(above is holder for above in context.tree.ancestors(node))
