"""Where a built model is patched: behind the loads that the patch would disturb."""

from __future__ import annotations

import ast
from functools import cached_property

from bncodemod.scan.model_places import kept_in, places, whole
from bncodemod.scan.own_state import own_states
from bncodemod.scan.weights import is_strict
from bncodemod.source.splice import Edit
from bncodemod.strategies.context import Context
from bncodemod.strategies.copies import copies_in
from bncodemod.strategies.first_run import first_run
from bncodemod.strategies.lines import before, end_of_line, stands_alone
from bncodemod.strategies.model_loads import (
    handed_to_loads,
    loaded_beyond,
    loads_here,
    states_given,
)
from bncodemod.strategies.model_scope import Scope
from bncodemod.strategies.patch_code import patcher
from bncodemod.strategies.patches import KEEPING

_NO_PLACE = "weights are loaded where no statement behind them is always reached"


class Plan:
    """How one model is patched: by a statement of its own, or by a call around the builder's.

    That is behind the loads that come before the model first runs under a transform. A later load
    of its own state fits; of a checkpoint, it is reported where the state dict changes.

    ``seen`` are the loads of its scope, ``loads`` those of them that the patch does not disturb,
    ``others`` strict ones that no place behind them is sought for. ``problem`` says why no place is
    right; empty if one is.
    """

    def __init__(self, context: Context, call: ast.Call, kind: str) -> None:
        self.context = context
        self.call = call
        self.kind = kind
        self.problem = ""
        self.others: tuple[ast.expr, ...] = ()
        place = kept_in(context.names, whole(context.names, call))
        self.target = place.target if place is not None else ""
        self._scopes = [Scope(context.names, p) for p in places(context.names, call)]
        self.seen = tuple(load for scope in self._scopes for load in loads_in(context, call, scope))
        early = {load for load in self.seen if self._is_early(load)}
        if kind in KEEPING:
            self.loads = self.seen
            self._behind = self._behind_checkpoints(early) or self._statement(set())
            return
        awaited = {load for load in early if not self._states(load)}
        self.loads = tuple(filter(self._is_early, self.seen))
        self.others = tuple(filter(self._is_early, loads_here(context, call, self.seen)))
        targets = {target for scope in self._scopes for target in scope.targets}
        given = states_given(context, call, targets)
        awaited.update(load for scope in self._scopes for load in scope.in_order(given))
        self._behind = self._statement(awaited)
        older = {load for load in self.seen if self._is_of_before(load)}
        if older:
            awaited |= older
            self._behind = self._statement(awaited)
        if self.others or (awaited and self._behind is None):
            self.problem = _NO_PLACE
        elif late := older.difference(self.loads):
            where = min(load.lineno for load in late)
            self.problem = (
                f"a state from before its weights is put back when it has run (line {where})"
            )

    @property
    def line(self) -> int:
        """The line behind which the model is patched; 0 where that is part of its building."""
        return (self._behind.end_lineno or 0) if self._behind is not None else 0

    @property
    def checkpoints(self) -> tuple[ast.Call, ...]:
        """The loads that it does not disturb, without those of the model's own state."""
        return tuple(load for load in self.loads if not self._states(load))

    def edit(self) -> Edit:
        """The edit that patches the model."""
        name = patcher(self.context, self.kind, self.call)
        tree = self.context.tree
        if self._behind is None:
            start, end = tree.span(self.call)
            return Edit(start, end, lambda text: f"{name}({text})")
        indent, end = before(tree, self._behind), end_of_line(tree, self._behind)
        newline = self.context.newline(self._behind)
        return self.context.patches.insertion(end, f"{newline}{indent}{name}({self.target})")

    def loaded_behind(self) -> str:
        """Where a checkpoint is loaded strictly once the model is patched; empty if nowhere."""
        for load in self.checkpoints:
            if load.lineno > self.line and is_strict(load):
                return f"line {load.lineno}"
        beyond = loaded_beyond(self.context, self.call, self.seen)
        return beyond.where if beyond is not None and beyond.is_strict else ""

    def _behind_checkpoints(self, loads: set[ast.Call]) -> ast.stmt | None:
        """Where a patch stands best that keeps the state dict, and may stand anywhere if need be.

        torch fills in what old checkpoints lack only where statistics are tracked. But a copy of
        the model that is made before has to be patched with it.
        """
        found = self._statement({n for n in loads if not own_states(self.context.names, n)})
        copies = (c for scope in self._scopes for c in copies_in(self.context, scope))
        last = found.end_lineno or 0 if found is not None else 0
        return None if any(copy.lineno <= last for copy in copies) else found

    def _statement(self, awaited: set[ast.Call]) -> ast.stmt | None:
        """The statement behind which the model is patched, if one stands alone there."""
        if not self.target:
            return None
        scope = self._scopes[0]
        found = scope.statement_after(scope.in_order(awaited))
        return found if found is not None and stands_alone(self.context.tree, found) else None

    @cached_property
    def _first_run(self) -> int:
        lines = (first_run(self.context, scope) for scope in self._scopes)
        return min(filter(None, lines), default=0)

    def _is_early(self, load: ast.expr) -> bool:
        """Whether a load comes before the model first runs under a transform."""
        return not self._first_run or load.lineno < self._first_run

    def _states(self, load: ast.Call) -> list[ast.Call]:
        """Where a load takes the state that it loads, if that is the model's own."""
        states = own_states(self.context.names, load)
        for state in states:
            owner = getattr(state.func, "value", None)
            name = ast.unparse(owner).removesuffix(".module") if owner is not None else ""
            if not any(name in s.targets and self._is_in(s, state) for s in self._scopes):
                return []
        return states

    def _is_in(self, scope: Scope, node: ast.AST) -> bool:
        return scope.is_later(self.context.tree.statement(node))

    def _is_of_before(self, load: ast.Call) -> bool:
        """Whether a load behind the patch takes a state of the model from before it."""
        if load.lineno <= self.line:
            return False
        return any(state.lineno <= self.line for state in self._states(load))


def loads_in(context: Context, call: ast.Call, scope: Scope) -> tuple[ast.Call, ...]:
    """The calls that load weights into a model once it is built, in its scope or by a function."""
    return scope.loads_and(handed_to_loads(context, call))
