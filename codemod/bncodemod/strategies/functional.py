"""Calls of functional norms: the buffers that they are given, and GroupNorm's call instead."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import libcst as cst

from bncodemod.catalog.torch import FLAG, FUNCTIONS, Functional
from bncodemod.scan.flow import trace
from bncodemod.scan.libraries import argument, uses_of
from bncodemod.scan.literals import is_none
from bncodemod.scan.mentions import Role, role
from bncodemod.source.splice import Edit
from bncodemod.strategies import call_edit
from bncodemod.strategies.arguments import Arguments, bind, is_pure
from bncodemod.strategies.context import Context

BUFFERS = frozenset({"running_mean", "running_var", "num_batches_tracked"})
_SIGNATURES = {
    "torch.nn.functional.batch_norm": (
        "input running_mean running_var weight bias training momentum eps"
    ),
    "torch.batch_norm": (
        "input weight bias running_mean running_var training momentum eps cudnn_enabled"
    ),
}
_DROPPED = ("running_mean", "running_var", "training", "momentum", "cudnn_enabled")


def functional_norms(context: Context, within: ast.AST) -> Iterator[tuple[ast.Call, Functional]]:
    """The calls of functional norms below a node."""
    for call, function in _calls(context):
        if is_below(context, call, within):
            yield call, function


def _calls(context: Context) -> Iterator[tuple[ast.Call, Functional]]:
    """The calls of functional norms in the file, those of variables that hold one included."""
    for node, qualified in uses_of(context.names, FUNCTIONS):
        call = context.tree.parents.get(node)
        if isinstance(call, ast.Call) and node is call.func:
            yield call, FUNCTIONS[qualified]
        elif role(context.names, node) is Role.VALUE:
            for call in trace(context.names, node).calls:
                yield call, FUNCTIONS[qualified]


def buffers_given(call: ast.Call, function: Functional) -> list[ast.expr | None]:
    """The running mean and variance that a call hands over."""
    parameters = (function.running_mean, function.running_var)
    return [argument(call, name, position) for position, name in parameters]


def hands_on_by_flag(call: ast.Call, function: Functional) -> bool:
    """Whether the buffers reach the call only if ``track_running_stats`` is set."""
    buffers = buffers_given(call, function)
    return all(
        isinstance(buffer, ast.IfExp)
        and any(isinstance(n, ast.Attribute) and n.attr == FLAG for n in ast.walk(buffer.test))
        for buffer in buffers
    )


def is_instance_norm(call: ast.Call, function: Functional) -> bool:
    """Whether a call normalises every sample by itself and has no buffers."""
    buffers = buffers_given(call, function)
    without = all(b is None or is_none(b) for b in buffers)
    return without and function.flag[1] == "use_input_stats"


def is_below(context: Context, node: ast.AST, holder: ast.AST) -> bool:
    """Whether a node stands inside another."""
    return any(above is holder for above in context.tree.ancestors(node))


def dropped_arguments(context: Context, call: ast.Call, self_name: str) -> list[ast.expr] | None:
    """What a batch norm on a module's own buffers is given and a group norm has no use for.

    None where the call is no such: the arguments cannot be told apart, the buffers are not those of
    ``self_name``, or leaving the arguments out would lose more than their values.
    """
    signature = _SIGNATURES.get(context.names.qualified(call.func))
    if signature is None:
        return None
    bound = bind(call, tuple(signature.split()))
    if bound.opaque or bound.surplus:
        return None
    for name in ("running_mean", "running_var"):
        if not _is_own_buffer(bound.value.get(name), name, self_name):
            return None
    dropped = [bound.value[name] for name in _DROPPED if name in bound.value]
    return dropped if all(map(is_pure, dropped)) else None


def group_norm_edit(context: Context, call: ast.Call, self_name: str) -> Edit:
    """The edit that makes ``F.group_norm(x, self.num_groups, …)`` of a call of ``F.batch_norm``."""
    bound = bind(call, tuple(_SIGNATURES[context.names.qualified(call.func)].split()))
    func = call.func
    written = (
        f"{context.tree.text(func.value)}.group_norm"
        if isinstance(func, ast.Attribute)
        else context.imports.name_for("torch.nn.functional.group_norm", call)
    )
    start, end = context.tree.span(call)
    newline = context.newline(call)

    def change(node: cst.Call) -> cst.Call:
        node = node.with_changes(func=call_edit.expression(written))
        return _regrouped(node, bound, f"{self_name}.num_groups")

    return Edit(start, end, lambda text: call_edit.edit_call(text, newline, change))


def _regrouped(call: cst.Call, bound: Arguments, groups: str) -> cst.Call:
    """The call with the number of groups behind the input, and without what only batch norm has."""
    args = list(call.args)
    place = bound.index["running_mean"]
    args[place] = args[place].with_changes(value=call_edit.expression(groups))
    if args[place].keyword is not None:
        args[place] = call_edit.name_argument(args[place], "num_groups")
        for name in bound.positional & {"weight", "bias"}:
            args[bound.index[name]] = call_edit.name_argument(args[bound.index[name]], name)
    elif place > 1:
        # torch.batch_norm takes the weight and the bias before the buffers.
        values = [args[place].value, *(a.value for a in args[1:place])]
        args[1 : place + 1] = [
            arg.with_changes(value=value)
            for arg, value in zip(args[1 : place + 1], values, strict=True)
        ]
    call = call.with_changes(args=args)
    gone = [bound.index[n] for n in _DROPPED if n in bound.index and n != "running_mean"]
    for index in sorted(gone, reverse=True):
        call = call_edit.drop(call, index)
    return call


def _is_own_buffer(node: ast.expr | None, name: str, self_name: str) -> bool:
    """Whether an argument can be nothing but the module's own buffer of that name, or None."""
    if isinstance(node, ast.IfExp):
        return all(_is_own_buffer(n, name, self_name) for n in (node.body, node.orelse))
    if isinstance(node, ast.Attribute):
        return node.attr == name and isinstance(node.value, ast.Name) and node.value.id == self_name
    return is_none(node)
