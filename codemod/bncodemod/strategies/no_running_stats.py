"""``no-running-stats``: the norm stays what it is and gets ``track_running_stats=False``.

Train-mode outputs stay bit for bit what they were. It is in option 1 of PyTorch's page "Patching
Batch Norm".
"""

from __future__ import annotations

import ast
from collections.abc import Callable

import libcst as cst

from bncodemod.catalog.torch import FLAG, NormClass
from bncodemod.scan.need import Need
from bncodemod.source.splice import Edit
from bncodemod.strategies import call_edit
from bncodemod.strategies.arguments import Arguments, bind, copied_from, flag_is_off, is_pure
from bncodemod.strategies.base import factory_arguments
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import NO_STATISTICS, Decision, Open, Rewrite, Safe
from bncodemod.strategies.patching import settled
from bncodemod.strategies.stand_in import without_stats

_OFF = "False"


class NoRunningStats:
    """Switches running statistics off where the norm is built."""

    name = "no-running-stats"
    keeps_batch_norm = True
    rewrites_source = True
    class_meets = frozenset({Need.RETURNED, Need.SUBCLASS, Need.CLASS_TEST})

    def constructor(self, context: Context, call: ast.Call, norm: NormClass) -> Decision:
        """Append the flag, or replace the value that the call gives it."""
        return switch_off(context, call, norm)

    def partial(self, context: Context, call: ast.Call, norm: NormClass) -> Decision:
        """Put the flag into the partial that is there, never a second one around it."""
        return switch_off(context, call, norm, skip=1)

    def reference(self, context: Context, node: ast.expr, norm: NormClass) -> Decision:
        """Wrap the class in ``functools.partial``."""
        name = context.imports.name_for("functools.partial", node)
        start, end = context.tree.span(node)
        edit = Edit(start, end, lambda text: f"{name}({text}, {FLAG}={_OFF})")
        return Rewrite((edit,), f"{norm.name} is passed on without running statistics")

    def reference_as_class(self, context: Context, node: ast.expr, norm: NormClass) -> Decision:
        """Name a subclass that switches them off."""
        name = without_stats(context, node, norm)
        return Rewrite((context.replace(node, name),), f"{norm.name} is replaced by {name}")

    def partial_as_class(self, context: Context, call: ast.Call, norm: NormClass) -> Decision:
        """Leave it a partial of torch's class, which it was before."""
        return self.partial(context, call, norm)

    def factory(self, context: Context, at: ast.AST, norm: NormClass, **given: float) -> str:
        """``partial(nn.BatchNorm2d, eps=…, track_running_stats=False)``."""
        partial = context.imports.name_for("functools.partial", at)
        written = context.imports.name_for(norm.qualified, at)
        return f"{partial}({written}{factory_arguments(given)}, {FLAG}={_OFF})"

    def settled(
        self, context: Context, node: ast.AST, decision: Decision, undo: Callable[[], None]
    ) -> Decision:
        """Patch the models of other libraries where the settings say so."""
        return settled(context, decision, undo)


def switch_off(context: Context, call: ast.Call, norm: NormClass, skip: int = 0) -> Decision:
    """Set ``track_running_stats=False`` in a call whose arguments after ``skip`` are the norm's."""
    bound = bind(call, norm.parameters, skip)
    if flag_is_off(bound):
        return NO_STATISTICS
    if not norm.tracks and FLAG not in bound.value and not bound.opaque:
        return Safe(f"{norm.name} keeps no running statistics by default")
    if bound.star_reaches or (bound.stars and "num_features" not in bound.value and not norm.lazy):
        return Open(
            f"a star of arguments may hold {FLAG}: neither it nor a keyword can be set safely",
            f"write the arguments out, with {FLAG}=False",
        )
    given = bound.value.get(FLAG)
    if copied_from(bound) is not None:
        return Safe(f"the flag follows {copied_from(bound)}, which is a site of its own")
    if given is not None and not is_pure(given):
        return Open(
            f"{FLAG}={ast.unparse(given)} does more than give a value: it cannot simply go",
            f"evaluate it in a statement of its own and pass {FLAG}=False",
        )
    if len(bound.double_stars) > 1 and given is None:
        return Open(
            f"several ** may hold {FLAG}", f"merge them into one mapping and add {FLAG}=False to it"
        )
    start, end = context.tree.span(call)
    newline = context.newline(call)

    def transform(text: str) -> str:
        return call_edit.edit_call(text, newline, lambda node: _off(node, bound, skip))

    return Rewrite((Edit(start, end, transform),), _message(norm, bound))


def _off(call: cst.Call, bound: Arguments, skip: int) -> cst.Call:
    if FLAG in bound.index:
        return call_edit.set_value(call, bound.index[FLAG] + skip, _OFF)
    if bound.double_stars:
        return call_edit.merge_into_double_star(call, FLAG, _OFF)
    return call_edit.append(call, FLAG, _OFF)


def _message(norm: NormClass, bound: Arguments) -> str:
    message = f"{norm.name} keeps no running statistics any more"
    given = bound.value.get(FLAG)
    if given is not None and not isinstance(given, ast.Constant):
        return f"{message}; {ast.unparse(given)} no longer decides about them"
    if bound.stars:
        stars = ", ".join(f"*{ast.unparse(star.value)}" for star in bound.stars)
        return f"{message}; {stars} is opaque: if it reaches {FLAG} as well, the call fails"
    return message
