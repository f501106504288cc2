"""``F.batch_norm`` is called with running statistics of its own.

The same in-place update as in a module, with the buffers given by hand.

Before:
    y = F.batch_norm(x, self.running_mean, self.running_var, training=self.training)

Safe where both buffers are None, where ``training`` is False, and in a subclass of batch norm that
hands them on only if ``track_running_stats`` is set (as torch's own forward does). Under group-norm
the calls in a subclass of batch norm are changed together with it (BN103).

By hand: pass ``None, None`` and ``training=True``, or use a GroupNorm.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial

from bncodemod.catalog.torch import Functional
from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.libraries import argument
from bncodemod.scan.literals import is_false, is_none
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import NO_STATISTICS, Decision, Open, Safe
from bncodemod.strategies.functional import buffers_given, functional_norms, hands_on_by_flag

rule = Rule("BN104", "functional call")


@rule.finds
def functional_calls(context: Context) -> Iterator[Match]:
    """Every call of a functional norm that is given buffers."""
    for call, function in functional_norms(context, context.tree.module):
        yield Match(call, partial(_decide, call, function))


def _decide(call: ast.Call, function: Functional) -> Decision:
    if any(isinstance(a, ast.Starred) for a in call.args) or any(
        k.arg is None for k in call.keywords
    ):
        return _open("stars may hide running statistics")
    if all(buffer is None or is_none(buffer) for buffer in buffers_given(call, function)):
        return NO_STATISTICS
    position, name = function.flag
    flag = argument(call, name, position)
    if flag is None and function.flag_default is False:
        return Safe("training is False: the statistics are read, not updated")
    if is_false(flag):
        return Safe(f"{name} is False: the statistics are read, not updated")
    if hands_on_by_flag(call, function):
        return Safe("the statistics are handed on only if track_running_stats is set")
    return _open("running statistics are updated in place")


def _open(what: str) -> Open:
    return Open(
        f"{what}, which vmap refuses",
        "pass None, None and training=True, or normalise with F.group_norm",
    )
