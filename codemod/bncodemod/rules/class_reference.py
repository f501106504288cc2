"""A batch norm class is used as a value: it will be called somewhere else.

Defaults, keyword arguments, partials, aliases, entries of tables, return values: a third of all
batch norms come in this way.

Before:
    def __init__(self, norm_layer=nn.BatchNorm2d): ...
After (no-running-stats):
    def __init__(self, norm_layer=partial(nn.BatchNorm2d, track_running_stats=False)): ...
After (group-norm):
    def __init__(self, norm_layer=make_group_norm): ...

``make_group_norm`` is a factory that is added to the file once; it pickles and takes batch norm's
own arguments. A value that is also used as a class (isinstance, a base class, a registry, a look-up
by ``__name__``, code that makes norm-and-activation layers of norm classes) has to stay one:

- Under no-running-stats the calls are rewritten instead where it is sure what they call. Where it
  only has to be a class, as a base class or as the result of a function that is annotated with
  ``type[…]``, ``BatchNorm2dWithoutStats`` takes its place, a subclass of torch's class that is
  added to the file once and keeps ``track_running_stats`` False. An isinstance test with it holds
  for what it builds, not for every BatchNorm2d, and torch.fx looks into it, as into every subclass,
  and fails. Otherwise the site is open.
- Under group-norm ``GroupNormAsBatchNorm2d`` takes its place, a class that is added to the file
  once: a GroupNorm with batch norm's arguments, ``__name__`` and attributes. An isinstance test
  with it holds for what it builds, not for every GroupNorm.

Open under group-norm stays what only torch's own class can do: a comparison by ``is``, ``==`` or
``in``, unless all it can meet are other classes; a search for modules of the class; an attribute of
the class that GroupNorm lacks.

By hand: pass ``functools.partial(nn.BatchNorm2d, track_running_stats=False)``, and compare against
``nn.BatchNorm2d`` itself where a class is needed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from bncodemod.catalog.torch import FLAG, NormClass
from bncodemod.rules.class_demands import (
    calls_may_carry,
    class_body,
    class_is_safer,
    class_meets,
    demands_of,
    demands_on,
    has_class,
    own_nodes,
    reasons,
    split_chain,
)
from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.demand import Demand, Flow
from bncodemod.scan.flow import trace
from bncodemod.scan.mentions import Role
from bncodemod.scan.need import TESTS, Need
from bncodemod.source.dotted_names import last_name
from bncodemod.source.splice import Edit
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Decision, Open, Rewrite, Safe
from bncodemod.strategies.no_running_stats import switch_off

rule = Rule("BN102", "class reference")

# Classes whose body's attributes become fields, not methods, when they hold a function.
_FIELD_BASES = frozenset(
    {"NamedTuple", "BaseModel", "Struct", "BaseSettings", "Schema", "TypedDict"}
)
_FIELD_DECORATORS = frozenset({"dataclass", "attrs", "attr", "define", "frozen", "mutable", "s"})


@rule.finds
def class_references(context: Context) -> Iterator[Match]:
    """Every mention of a batch norm class, or of a lazy norm, that is a value."""
    for mention in context.mentions:
        norm = mention.norm
        if not norm.abstract and (norm.family == "batch" or norm.lazy):
            if mention.role is Role.PARTIAL:
                call = context.tree.parent(mention.node)
                assert isinstance(call, ast.Call)
                yield Match(call, partial(_partial, context, call, mention.norm))
                yield from _flags_by_keyword(context, trace(context.names, call), mention.norm)
            elif mention.role is Role.VALUE:
                yield from references(context, mention.node, mention.norm)


def references(context: Context, node: ast.expr, norm: NormClass) -> Iterator[Match]:
    """The matches for one value: itself, or the calls through the variable that holds it."""
    flow = trace(context.names, node)
    demands = demands_on(context, node, norm, flow)
    if not demands:
        yield Match(node, lambda: _wrap(context, node, norm, flow))
        yield from _flags_by_keyword(context, flow, norm)
        return
    chain = split_chain(context, node)
    if chain is not None and (context.keeps_batch_norm or not flow.called_elsewhere):
        yield Match(node, lambda: _split(context, node, norm, *chain))
    elif calls_may_carry(context, flow):
        yield Match(
            node,
            lambda: Safe(f"stays a class, its calls carry the change: {reasons(context, demands)}"),
        )
        for call in flow.calls:
            yield Match(call, partial(_constructor, context, call))
    elif flow.is_built or any(d.need not in TESTS for d in demands):
        refused = [d for d in demands if not class_meets(context, node, norm, flow, d)]
        if not refused:
            # What only tests are made of would be reported as if the class were still torch's.
            claims = () if flow.is_built else own_nodes(context, demands)
            yield Match(node, lambda: _as_class(context, node, norm, demands), claims)
            return
        yield Match(node, lambda: _open(context, norm, demands))
        for demand in demands:
            if demand.need is Need.IDENTITY and demand.elsewhere is None:
                yield Match(demand.node, lambda: _open_test(node))


def _flags_by_keyword(context: Context, flow: Flow, norm: NormClass) -> Iterator[Match]:
    """The calls of the value that say ``track_running_stats=`` themselves; a factory ignores it."""
    for call in flow.calls if context.keeps_batch_norm else ():
        if any(keyword.arg == FLAG for keyword in call.keywords):
            yield Match(call, partial(switch_off, context, call, norm))


def _as_class(context: Context, node: ast.expr, norm: NormClass, demands: list[Demand]) -> Decision:
    why = f", a class: {reasons(context, demands)}"
    every = norm.name if context.keeps_batch_norm else "GroupNorm"
    if context.keeps_batch_norm or any(d.need is Need.INSTANCE_TEST for d in demands):
        why += f"; isinstance holds for what this class builds, not for every {every}"
    return _with_message(context.strategy.reference_as_class(context, node, norm), why)


def _with_message(decision: Decision, added: str) -> Decision:
    if isinstance(decision, Rewrite):
        return replace(decision, message=decision.message + added)
    return decision


def _partial(context: Context, call: ast.Call, norm: NormClass) -> Decision:
    flow = trace(context.names, call)
    as_class = flow.unwrapped or demands_of(context, flow) or class_is_safer(context, flow)
    strategy = context.strategy
    return (strategy.partial_as_class if as_class else strategy.partial)(context, call, norm)


def _wrap(context: Context, node: ast.expr, norm: NormClass, flow: Flow) -> Decision:
    owner = class_body(context, node)
    called_inside = owner is not None and any(
        context.names.scopes.scope_of(call) is owner for call in flow.calls
    )
    why = class_is_safer(context, flow)
    if called_inside and not context.keeps_batch_norm:
        why = "it is called in a class body"
    if why and has_class(context, node, norm):
        return _with_message(
            context.strategy.reference_as_class(context, node, norm), f", a class: {why}"
        )
    decision = context.strategy.reference(context, node, norm)
    if not isinstance(decision, Rewrite):
        return decision
    annotation = _annotation(context, node)
    if annotation is not None:
        said = ast.unparse(annotation)
        decision = replace(
            decision, message=f"{decision.message}; the annotation {said} is left as it is"
        )
    if owner is None or _is_field(context, node, owner):
        return decision
    if called_inside:
        return Open(
            f"{norm.name} is called in the body of class {owner.name} and may be called through"
            " its instances, which would bind a function as a method",
            "call the class by its own name in the class body, and use staticmethod(...) for"
            " the attribute",
        )
    first = decision.edits[0]
    static = replace(first, transform=lambda text: f"staticmethod({first.transform(text)})")
    return replace(decision, edits=(static, *decision.edits[1:]))


def _annotation(context: Context, node: ast.expr) -> ast.expr | None:
    """The annotation of the parameter or variable whose value the class is."""
    above = context.tree.parent(node)
    if isinstance(above, ast.AnnAssign):
        return above.annotation
    if isinstance(above, ast.arguments):
        for argument in (*above.posonlyargs, *above.args, *above.kwonlyargs):
            if context.names.scopes.default(argument) is node:
                return argument.annotation
    return None


def _is_field(context: Context, node: ast.expr, owner: ast.ClassDef) -> bool:
    """Whether an annotated value is the default of a field, not an attribute of the class."""
    statement = context.tree.statement(node)
    if not isinstance(statement, ast.AnnAssign) or "ClassVar" in ast.unparse(statement.annotation):
        return False
    bases, decorators = (
        {last_name(node.func if isinstance(node, ast.Call) else node) for node in nodes}
        for nodes in (owner.bases, owner.decorator_list)
    )
    return not bases.isdisjoint(_FIELD_BASES) or not decorators.isdisjoint(_FIELD_DECORATORS)


def _constructor(context: Context, call: ast.Call) -> Decision:
    return context.strategy.constructor(context, call, context.names.norms(call.func)[0])


def _split(
    context: Context,
    node: ast.expr,
    norm: NormClass,
    statement: ast.Assign,
    kept: list[ast.expr],
    wrapped: list[ast.expr],
) -> Decision:
    decision = context.strategy.reference(context, node, norm)
    if not isinstance(decision, Rewrite):
        return decision
    tree = context.tree
    value = tree.text(node)
    start, end = tree.span(statement)
    line_start = tree.source.line_start(tree.source.position(start)[0])
    indent = tree.source.text[line_start:start]
    between = "; " if indent.strip() else context.newline(statement) + indent

    def assignment(targets: list[ast.expr], to: str) -> str:
        return "".join(f"{tree.text(target)} = " for target in targets) + to

    new = between.join(
        [assignment(kept, value), assignment(wrapped, decision.edits[0].transform(value))]
    )
    names = ", ".join(tree.text(target) for target in kept)
    return Rewrite(
        (Edit(start, end, lambda _: new), *decision.edits[1:]),
        f"{decision.message}; {names} stays a class",
    )


def _open(context: Context, norm: NormClass, demands: list[Demand]) -> Open:
    return Open(
        f"{norm.name} has to stay a class here: {reasons(context, demands)}",
        "pass functools.partial(…, track_running_stats=False) or a factory to the calls, and keep"
        " the class for the tests",
    )


def _open_test(node: ast.expr) -> Open:
    return Open(
        f"this comparison decides by a class that the file passes on ({ast.unparse(node)})",
        "rewrite the test together with the value: compare with the class before it is wrapped",
    )
