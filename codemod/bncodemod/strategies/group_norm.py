"""``group-norm``: GroupNorm in the place of batch norm.

What PyTorch's page "Patching Batch Norm" advises first.
A channel count known at rewrite time gives a number of groups; otherwise the emitted code calls a
factory that computes it by the same rule and takes batch norm's own arguments. Where a class is
needed, a class derived from GroupNorm does the same.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace

import libcst as cst

from bncodemod.catalog.torch import FLAG, NormClass
from bncodemod.scan.need import Need
from bncodemod.source.splice import Edit
from bncodemod.strategies import call_edit
from bncodemod.strategies.arguments import Arguments, bind, copied_from, integer, is_pure
from bncodemod.strategies.base import factory_arguments
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Decision, Open, Rewrite
from bncodemod.strategies.groups import (
    HELPER,
    class_helper_code,
    class_helper_name,
    helper_code,
    is_class_helper,
    is_helper,
    num_groups,
)
from bncodemod.strategies.no_running_stats import switch_off
from bncodemod.strategies.patching import settled
from bncodemod.strategies.stand_in import stand_in

_DROPPED = ("momentum", FLAG, "process_group")
_KEEP_BY_HAND = "use strategy no-running-stats here, or write the GroupNorm by hand"


class GroupNorm:
    """Puts GroupNorm where a batch norm is built; instance norms lose their statistics."""

    name = "group-norm"
    keeps_batch_norm = False
    rewrites_source = True
    class_meets = frozenset(
        {
            Need.TYPE,
            Need.METHOD,
            Need.ELSEWHERE,
            Need.FUNCTION_TEST,
            Need.RETURNED,
            Need.INSTANCE_TEST,
            Need.CLASS_TEST,
            Need.ATTRIBUTE,
            Need.REGISTRY,
            Need.SUBCLASS,
        }
    )

    def constructor(self, context: Context, call: ast.Call, norm: NormClass) -> Decision:
        """``nn.GroupNorm(16, 64)`` for known channels, else ``make_group_norm(channels)``."""
        if norm.family == "instance":
            return switch_off(context, call, norm)
        bound = bind(call, norm.parameters)
        refusal = _refusal(norm, bound)
        if refusal is not None:
            return refusal
        channels = integer(bound.value["num_features"])
        gone = [name for name in _DROPPED if name in bound.value]
        pure = all(is_pure(bound.value[name]) for name in gone)
        if channels is None or channels < 1 or bound.double_stars or not pure:
            # The factory takes batch norm's own arguments, whatever a ** holds; one whose
            # evaluation does more than give a value must stay.
            name = _helper(context, call)
            decision = _rewritten(
                context, call, norm, lambda c: _by_factory(c, bound, name, drop=pure)
            )
            if norm.dims == 1 and channels is None:
                note = "on (N, C) inputs of 1 or 2 channels a GroupNorm returns no information"
                return replace(decision, message=f"{decision.message}; {note}")
            return decision
        groups = num_groups(channels, context.settings)
        if groups is None:
            return Open(
                f"no number of groups within the settings divides {channels} channels",
                "choose another --groups, --min-group-size or --group-fallback",
            )
        written = group_norm_callee(context, call.func)
        return _rewritten(context, call, norm, lambda c: _by_number(c, bound, written, groups))

    def partial(self, context: Context, call: ast.Call, norm: NormClass) -> Decision:
        """Put the factory into the partial that is there."""
        if norm.family == "instance":
            return switch_off(context, call, norm, skip=1)
        if norm.lazy:
            return _no_lazy(norm)
        bound = bind(call, norm.parameters, skip=1)
        if bound.stars:
            return _hidden(bound)
        name = _helper(context, call)
        return _rewritten(context, call, norm, lambda c: _by_partial(c, bound, name))

    def reference(self, context: Context, node: ast.expr, norm: NormClass) -> Decision:
        """Name the factory instead of the class."""
        if norm.lazy:
            return _no_lazy(norm)
        name = _helper(context, node)
        return Rewrite(
            (context.replace(node, name),), f"{norm.name} is replaced by a factory of GroupNorm"
        )

    def reference_as_class(self, context: Context, node: ast.expr, norm: NormClass) -> Decision:
        """Name a class of GroupNorm instead."""
        if norm.lazy:
            return _no_lazy(norm)
        name = class_helper(context, node, norm)
        return Rewrite((context.replace(node, name),), f"{norm.name} is replaced by {name}")

    def partial_as_class(self, context: Context, call: ast.Call, norm: NormClass) -> Decision:
        """Put a class of GroupNorm into the partial that is there."""
        if norm.lazy:
            return _no_lazy(norm)
        bound = bind(call, norm.parameters, skip=1)
        if bound.stars:
            return _hidden(bound)
        name = class_helper(context, call, norm)
        return _rewritten(context, call, norm, lambda c: _by_partial(c, bound, name))

    def factory(self, context: Context, at: ast.AST, norm: NormClass, **given: float) -> str:
        """The factory, in a partial where it has to carry arguments."""
        name = _helper(context, at)
        given.pop("momentum", None)
        if not given:
            return name
        partial = context.imports.name_for("functools.partial", at)
        return f"{partial}({name}{factory_arguments(given)})"

    def settled(
        self, context: Context, node: ast.AST, decision: Decision, undo: Callable[[], None]
    ) -> Decision:
        """Patch the models of other libraries where the settings say so."""
        return settled(context, decision, undo)


def class_helper(context: Context, at: ast.AST, norm: NormClass) -> str:
    """The name of the class of GroupNorm in this file; it stands above the node's statement."""
    return stand_in(
        context,
        at,
        class_helper_name(norm),
        "torch.nn.GroupNorm",
        is_class_helper,
        lambda name, base: class_helper_code(name, norm, base, context.settings),
    )


def _rewritten(
    context: Context, call: ast.Call, norm: NormClass, change: call_edit.Change
) -> Rewrite:
    start, end = context.tree.span(call)
    newline = context.newline(call)
    edit = Edit(start, end, lambda text: call_edit.edit_call(text, newline, change))
    return Rewrite((edit,), f"{norm.name} is replaced by GroupNorm")


def _refusal(norm: NormClass, bound: Arguments) -> Open | None:
    """Why a call cannot become a GroupNorm, if it cannot."""
    if norm.lazy:
        return _no_lazy(norm)
    if bound.stars or (bound.double_stars and "num_features" not in bound.value):
        return _hidden(bound)
    if bound.surplus:
        return Open(f"{norm.name} does not take that many arguments", "correct the call")
    if "num_features" not in bound.value:
        return Open(f"{norm.name} is called without its number of channels", "complete the call")
    if copied_from(bound) is not None:
        return Open(
            f"the call copies {copied_from(bound)}: it was written for batch norm",
            "decide what a copy of a GroupNorm has to be",
        )
    channels = integer(bound.value["num_features"])
    if norm.dims == 1 and channels in (1, 2):
        return Open(
            f"GroupNorm over {channels} channels returns no information on (N, C) inputs",
            "use strategy no-running-stats for this layer",
        )
    return None


def _no_lazy(norm: NormClass) -> Open:
    return Open(
        f"{norm.name} has no channel count to make groups of, and there is no lazy GroupNorm",
        _KEEP_BY_HAND,
    )


def _hidden(bound: Arguments) -> Open:
    hidden = [f"*{ast.unparse(star.value)}" for star in bound.stars]
    hidden += [f"**{ast.unparse(star.value)}" for star in bound.double_stars]
    return Open(f"{', '.join(hidden)} may hide the number of channels or eps", _KEEP_BY_HAND)


def _helper(context: Context, at: ast.AST) -> str:
    """The name of the factory in this file; it is defined before the node's statement."""
    imports = context.imports
    top = imports.top_level(at)
    standing = context.names.function(HELPER, before=top)
    if standing is not None and is_helper(standing):
        return HELPER
    return imports.helper(
        HELPER,
        at,
        lambda name: helper_code(
            name, imports.name_for("torch.nn.GroupNorm", top), context.settings
        ),
    )


def group_norm_callee(context: Context, func: ast.expr) -> str:
    """How GroupNorm is written beside a norm class: by the same module where it has one."""
    if isinstance(func, ast.Attribute):
        module = context.names.qualified(func.value)
        if module in ("torch.nn", "torch.nn.modules"):
            return ".GroupNorm"
    return context.imports.name_for("torch.nn.GroupNorm", func)


def spell_callee(written: str, call: cst.Call) -> cst.BaseExpression:
    """The callee ``written``; a leading dot keeps the module that the call already names."""
    if written.startswith(".") and isinstance(call.func, cst.Attribute):
        return call.func.with_changes(attr=cst.Name(written[1:]))
    return call_edit.expression(written)


def _by_number(call: cst.Call, bound: Arguments, written: str, groups: int) -> cst.Call:
    call = _without_batch_arguments(call, bound)
    args = list(call.args)
    index = next(
        i for i, a in enumerate(args) if a.keyword is None or a.keyword.value == "num_features"
    )
    channels = args[index]
    if channels.keyword is None:
        number = call_edit.insert_before(channels, str(groups))
    else:
        number = call_edit.insert_before(channels, str(groups), "num_groups")
        channels = call_edit.name_argument(channels, "num_channels")
    args[index : index + 1] = [number, channels]
    return call.with_changes(func=spell_callee(written, call), args=args)


def _by_factory(call: cst.Call, bound: Arguments, name: str, drop: bool) -> cst.Call:
    if drop:
        call = _without_batch_arguments(call, bound)
    return call.with_changes(func=cst.Name(name))


def _by_partial(call: cst.Call, bound: Arguments, name: str) -> cst.Call:
    call = call_edit.set_value(call, 0, name)
    gone = [
        bound.index[n] + 1
        for n in _DROPPED
        if n in bound.index and n not in bound.positional and is_pure(bound.value[n])
    ]
    for index in sorted(gone, reverse=True):
        call = call_edit.drop(call, index)
    return call


def _without_batch_arguments(call: cst.Call, bound: Arguments) -> cst.Call:
    """Name every argument after the channels and drop those that GroupNorm has no use for."""
    args = list(call.args)
    for name in bound.positional - {"num_features"}:
        args[bound.index[name]] = call_edit.name_argument(args[bound.index[name]], name)
    call = call.with_changes(args=args)
    gone = [bound.index[name] for name in _DROPPED if name in bound.index]
    for index in sorted(gone, reverse=True):
        call = call_edit.drop(call, index)
    return call
