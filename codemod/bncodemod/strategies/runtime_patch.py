"""``runtime-patch``: a model that another library builds is patched where it is built.

It is option 3 of PyTorch's page "Patching Batch Norm". The other strategies do the same for such
models where the setting ``third_party`` says so.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace

from bncodemod.source.splice import Edit
from bncodemod.strategies.built_model import Scope, kept_in, standing_patch, whole
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import BuiltModel, Decision, Open, Rewrite, Safe
from bncodemod.strategies.no_running_stats import NoRunningStats
from bncodemod.strategies.patch_code import TORCH, patcher

_PATCHED = "patched at run time"
_WHAT = {
    "replace": f"{TORCH} makes the model run without running statistics",
    "keep-statistics": "the model's batch norms keep their statistics and no longer update them",
    "group-norm": "GroupNorms take the place of the model's batch norms",
}
# What a reader of the finding has to know of a model with weights, and of one without.
_WITH_WEIGHTS = {
    "replace": "; loaded statistics are dropped, so that eval mode uses those of the batch"
    " (--patch keep-statistics keeps them)",
    "group-norm": "; if it loads weights, what they were trained to is lost",
}
_WITHOUT_WEIGHTS = {
    "keep-statistics": "; no weights are loaded: eval mode will use the initial statistics"
    " (--patch replace makes it use the batch's)",
}
_UNKNOWN_MODULE = "; whether it gives a module is not known"
_NO_PLACE = "; weights are loaded where no statement behind them is always reached"
_OWN = "runtime-patch leaves norms of the project's own source as they are"
_OWN_REMEDY = "rewrite them with --strategy no-running-stats --third-party patch"
# What is done with a module and nothing else.
_OF_A_MODULE = frozenset(
    {
        "children",
        "cuda",
        "eval",
        "load_state_dict",
        "modules",
        "named_modules",
        "named_parameters",
        "parameters",
        "requires_grad_",
        "state_dict",
        "to",
        "train",
        "zero_grad",
    }
)
_MODULE_NAMES = ("model", "net", "network", "backbone", "encoder", "extractor")


class RuntimePatch(NoRunningStats):
    """Leaves the source's own norms; ``settled`` patches what other libraries build."""

    name = "runtime-patch"


def settled(
    context: Context, node: ast.AST, decision: Decision, undo: Callable[[], None]
) -> Decision:
    """What the settings make of a rule's decision; ``undo`` takes back what it has asked for."""
    model = None if isinstance(decision, Safe) else decision.model
    if model is not None:
        patches = [standing_patch(context.names, context.patches, c) for c in model.calls]
        kinds = [patch.kind for patch in patches if patch is not None]
        if len(kinds) == len(model.calls):
            for kind in kinds:
                context.patches.note(kind, model.calls, _earlier_loads(context, model))
            return Safe(_PATCHED)
        by_argument = isinstance(decision, Rewrite) and context.strategy.name != RuntimePatch.name
        if context.settings.patches and not by_argument:
            undo()
            return patched(context, model, decision, context.settings.patch)
    elif context.strategy.name == RuntimePatch.name and isinstance(decision, Rewrite):
        undo()
        return _own(context, node, decision)
    return decision


def _own(context: Context, node: ast.AST, decision: Rewrite) -> Decision:
    """The project's own norm under a strategy that only patches."""
    if isinstance(node, ast.expr) and standing_patch(context.names, context.patches, node):
        return Safe(f"the model it is part of is {_PATCHED}")
    return Open(_OWN, _OWN_REMEDY)


def patched(context: Context, model: BuiltModel, said: Rewrite | Open, kind: str) -> Decision:
    """Patch the models of a site, each where it is built."""
    left = Open(said.message, said.remedy) if isinstance(said, Open) else None
    if not model.is_module and not all(_is_module(context, call) for call in model.calls):
        return replace(left or _no_place(said), message=said.message + _UNKNOWN_MODULE)
    if context.patches.calls.issuperset(model.calls):
        return Safe(f"{_PATCHED} where it is called")
    plans = [_Plan(context, call, kind) for call in model.calls]
    if not all(plan.is_possible for plan in plans):
        return replace(left or _no_place(said), message=said.message + _NO_PLACE)
    edits = tuple(plan.edit() for plan in plans)
    loads = tuple(load for plan in plans for load in plan.loads)
    context.patches.note(kind, model.calls, loads)
    hints = _WITH_WEIGHTS if model.weights or loads else _WITHOUT_WEIGHTS
    return Rewrite(edits, _WHAT[kind] + hints.get(kind, ""))


def _no_place(said: Rewrite | Open) -> Open:
    from bncodemod.strategies.model_builder import PATCH

    return Open(said.message, PATCH)


def _earlier_loads(context: Context, model: BuiltModel) -> tuple[ast.Call, ...]:
    """The loads of a patched model that stand before the patch."""
    found: list[ast.Call] = []
    for call in model.calls:
        place = kept_in(context.names, whole(context.names, call))
        patch = standing_patch(context.names, context.patches, call)
        if place is not None and patch is not None:
            line: int = patch.node.lineno  # type: ignore[attr-defined]
            found += [c for c in Scope(context.names, place).loads if c.lineno < line]
    return tuple(found)


def _is_module(context: Context, call: ast.Call) -> bool:
    """Whether what a call gives is evidently a module, by its name or by what is done with it."""
    expression = whole(context.names, call)
    place = kept_in(context.names, expression)
    if expression is not call:
        return True
    if place is None:
        repository = call.args[0] if call.args else None
        text = repository.value if isinstance(repository, ast.Constant) else ""
        return isinstance(text, str) and text.startswith("pytorch/vision")
    last = place.target.rpartition(".")[2].lower()
    if last.endswith(_MODULE_NAMES):
        return True
    return any(
        isinstance(above, ast.Attribute) and above.attr in _OF_A_MODULE
        for node in context.tree.occurrences(place.target.rpartition(".")[2])
        if isinstance(node, ast.expr) and ast.unparse(node) == place.target
        for above in [context.tree.parents.get(node)]
    )


class _Plan:
    """How one model is patched: by a statement of its own, or by a call around the builder's."""

    def __init__(self, context: Context, call: ast.Call, kind: str) -> None:
        self.context = context
        self.call = call
        self.kind = kind
        self.loads: tuple[ast.Call, ...] = ()
        self.is_possible = True
        self._behind: ast.stmt | None = None
        place = kept_in(context.names, whole(context.names, call))
        if place is None:
            return
        self.target = place.target
        scope = Scope(context.names, place)
        if kind != "keep-statistics":  # with which a strict load goes on working
            self.loads = scope.loads
        behind = scope.statement_after(self.loads)
        if (
            behind is not None
            and self._indent(behind) is not None
            and self._end(behind) is not None
        ):
            self._behind = behind
        else:
            self.is_possible = not self.loads

    def edit(self) -> Edit:
        """The edit that patches the model."""
        if self._behind is None:
            return self._around()
        name = patcher(self.context, self.kind, self.call)
        indent, end = self._indent(self._behind), self._end(self._behind)
        assert end is not None
        newline = self.context.newline(self._behind)
        return self.context.patches.insertion(end, f"{newline}{indent}{name}({self.target})")

    def _around(self) -> Edit:
        name = patcher(self.context, self.kind, self.call)
        start, end = self.context.tree.span(self.call)
        return Edit(start, end, lambda text: f"{name}({text})")

    def _indent(self, statement: ast.stmt) -> str | None:
        """The indentation of a statement that begins its line."""
        source = self.context.tree.source
        start = self.context.tree.span(statement)[0]
        indent = source.text[source.line_start(source.position(start)[0]) : start]
        return None if indent.strip(" \t\f") else indent

    def _end(self, statement: ast.stmt) -> int | None:
        """The end of the line on which a statement ends, if no other statement stands there."""
        text = self.context.tree.source.text
        end = behind = self.context.tree.span(statement)[1]
        while end < len(text) and text[end] not in "\r\n":
            end += 1
        rest = text[behind:end].strip(" \t\f")
        return end if not rest or rest.startswith("#") else None
