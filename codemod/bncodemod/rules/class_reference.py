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
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from bncodemod.catalog.torch import FLAG, NormClass, norm_class
from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.demand import Demand, Flow
from bncodemod.scan.excerpt import excerpt
from bncodemod.scan.flow import trace, trace_target
from bncodemod.scan.mentions import Role
from bncodemod.scan.need import TESTS, Need, calls_can_carry
from bncodemod.source.dotted_names import last_name
from bncodemod.source.splice import Edit
from bncodemod.strategies.arguments import bind
from bncodemod.strategies.batch_norm_class import LACKS, BatchNormClass
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Decision, Open, Rewrite, Safe
from bncodemod.strategies.no_running_stats import switch_off

rule = Rule("BN102", "class reference")

# torchvision's ConvNormActivation is no such thing: it calls norm_layer with the channels alone.
_FUSED = re.compile(r"\b\w*(?:[Nn]orm_?[Aa]ct|[Bb]n_?[Aa]ct)(?!ivation)\w*\b")
# Classes whose body's attributes become fields, not methods, when they hold a function.
_FIELD_BASES = frozenset(
    {"NamedTuple", "BaseModel", "Struct", "BaseSettings", "Schema", "TypedDict"}
)
_FIELD_DECORATORS = frozenset({"dataclass", "attrs", "attr", "define", "frozen", "mutable", "s"})
_MEANT_FOR_THE_FLAG = frozenset({Need.FLAG_BY_KEYWORD, Need.FLAG_BY_POSITION, Need.FLAG_BY_STAR})
# What says where a class comes from says another thing of any class but torch's.
_ORIGIN = frozenset({"__module__", "__qualname__", "__bases__", "__base__", "__mro__", "mro"})
# Callees that look for modules of a class, which a GroupNorm built otherwise does not match.
_SEARCH = re.compile(
    r"isinstance|issubclass|find|filter|exclu|skip|convert|replace|swap|count|patch|policy|hasattr"
    r"|getsource|getmodule|isclass|named_modules|modules_of|types?$|assert|^__",
    re.IGNORECASE,
)


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
    demands = [*_demands(context, flow), *_of_attributes(context, node, flow)]
    if context.keeps_batch_norm:
        demands += _flags_by_position(flow, norm)
    if not demands:
        yield Match(node, lambda: _wrap(context, node, norm, flow))
        yield from _flags_by_keyword(context, flow, norm)
        return
    chain = split_chain(context, node)
    if chain is not None and (context.keeps_batch_norm or not flow.called_elsewhere):
        yield Match(node, lambda: _split(context, node, norm, *chain))
    elif _calls_can_carry(context, flow):
        yield Match(
            node,
            lambda: Safe(f"stays a class, its calls carry the change: {_why(context, demands)}"),
        )
        for call in flow.calls:
            yield Match(call, partial(_constructor, context, call))
    elif flow.is_built or any(d.need not in TESTS for d in demands):
        refused = [d for d in demands if not _class_meets(context, node, norm, flow, d)]
        if not refused:
            # What only tests are made of would be reported as if the class were still torch's.
            claims = () if flow.is_built else _own_nodes(context, demands)
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


def _flags_by_position(flow: Flow, norm: NormClass) -> list[Demand]:
    """A call that passes the flag by position would clash with the partial's keyword."""
    return [
        Demand(call, Need.FLAG_BY_POSITION)
        for call in flow.calls
        if FLAG in bind(call, norm.parameters).positional
    ]


def _of_attributes(context: Context, node: ast.expr, flow: Flow) -> list[Demand]:
    """Class attributes other than the one that the value is assigned to directly."""
    direct = set()
    if _class_body(context, node) is not None:
        statement = context.tree.statement(node)
        targets = getattr(statement, "targets", [getattr(statement, "target", None)])
        direct = {target for target in targets if isinstance(target, ast.Name)}
    return [Demand(t, Need.METHOD) for t in flow.class_attributes if t not in direct]


def _class_meets(
    context: Context, node: ast.expr, norm: NormClass, flow: Flow, demand: Demand
) -> bool:
    """Whether the strategy's class does where the file, or another, needs torch's class."""
    if demand.need not in context.strategy.class_meets or not _has_class(context, node, norm):
        return False
    code = _code(demand)
    if demand.need is Need.INSTANCE_TEST:
        # A tuple of classes that is never called is a list of what to look for.
        held = isinstance(context.tree.parent(node), (ast.Tuple, ast.List, ast.Set))
        return bool(flow.calls) or not held
    if demand.need is Need.ATTRIBUTE:
        return code.rpartition(".")[2] not in LACKS | _ORIGIN
    if demand.need is Need.REGISTRY:
        return not _SEARCH.search(_callee(code))
    if demand.need is Need.SUBCLASS:
        seen = demand.elsewhere is None
        return _can_be_base(context, demand.node, norm) if seen else code.startswith("class ")
    return True


def _has_class(context: Context, node: ast.expr, norm: NormClass) -> bool:
    """Whether the strategy has a class to put in the place of what the node names."""
    if not context.keeps_batch_norm:
        return not norm.lazy
    return norm_class(context.names.qualified(node)) is not None  # not a class of the project


def _can_be_base(context: Context, owner: ast.AST, norm: NormClass) -> bool:
    """Whether a class that derives from the value works with the strategy's class as its base."""
    if not isinstance(owner, ast.ClassDef) or len(owner.bases) != 1:
        return False
    derived = BatchNormClass(context, owner, owner.bases[0], norm)
    if context.keeps_batch_norm:
        return not any(derived.needs_of_statistics())
    return not any([*derived.obstacles(), *derived.functional_calls, *derived.calls_by_name])


def _own_nodes(context: Context, demands: list[Demand]) -> tuple[ast.AST, ...]:
    """The uses in this file, but for those that name torch's class themselves."""
    named = {
        above
        for mention in context.mentions
        if mention.role is Role.TEST
        for above in context.tree.ancestors(mention.node)
    }
    return tuple(d.node for d in demands if d.elsewhere is None and d.node not in named)


def _as_class(context: Context, node: ast.expr, norm: NormClass, demands: list[Demand]) -> Decision:
    why = f", a class: {_why(context, demands)}"
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
    as_class = flow.unwrapped or _demands(context, flow) or _class_is_safer(context, flow)
    strategy = context.strategy
    return (strategy.partial_as_class if as_class else strategy.partial)(context, call, norm)


def _class_is_safer(context: Context, flow: Flow) -> str:
    """Why code that is not seen may take a function for something else, if it may.

    Code that makes norm-and-activation layers of norm classes does: timm's ``get_norm_act_layer``
    goes by the class's name, and would call a function with ``apply_act=``, or lose the activation
    without an error. Who takes a value out of a ``**`` cannot be told at all; nor can, under any
    strategy, what a method does whose class is not known.
    """
    if flow.unseen_method:
        return "it goes to a method that is not seen"
    if context.keeps_batch_norm or not flow.escapes:
        return ""
    word = _FUSED.search(context.tree.source.text)
    if word is not None:
        return f"{word[0]} makes layers of classes"
    spread = flow.lost and any(
        isinstance(call, ast.Call) and any(keyword.arg is None for keyword in call.keywords)
        for call in flow.escapes
    )
    return "it is handed on by **" if spread else ""


def _demands(context: Context, flow: Flow) -> list[Demand]:
    """The uses that would break.

    Code that unwraps ``.func`` is ready for a partial. A GroupNorm's factory ignores the flag.
    """
    if not context.keeps_batch_norm:
        return [d for d in flow.demands if d.need not in _MEANT_FOR_THE_FLAG]
    survive = {Need.FUNCTION_TEST}
    if flow.unwrapped:
        survive |= {Need.IDENTITY, Need.ATTRIBUTE}
    return [d for d in flow.demands if d.need not in survive]


def _wrap(context: Context, node: ast.expr, norm: NormClass, flow: Flow) -> Decision:
    owner = _class_body(context, node)
    called_inside = owner is not None and any(
        context.names.scopes.scope_of(call) is owner for call in flow.calls
    )
    why = _class_is_safer(context, flow)
    if called_inside and not context.keeps_batch_norm:
        why = "it is called in a class body"
    if why and _has_class(context, node, norm):
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


def _class_body(context: Context, node: ast.expr) -> ast.ClassDef | None:
    """The class whose attribute the value is, if it is one."""
    child: ast.AST = node
    above = context.tree.parent(node)
    while isinstance(above, (ast.IfExp, ast.BoolOp)):
        child, above = above, context.tree.parent(above)
    if not isinstance(above, (ast.Assign, ast.AnnAssign)) or above.value is not child:
        return None
    owner = context.names.scopes.scope_of(above)
    return owner if isinstance(owner, ast.ClassDef) else None


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


def _calls_can_carry(context: Context, flow: Flow) -> bool:
    """Whether every use is seen, every call is sure to build a norm, and the tests stay right."""
    surely_norms = all(
        norm_class(meaning.qualified)
        for call in flow.calls
        for meaning in context.names.meanings(call.func)
    )
    return context.keeps_batch_norm and calls_can_carry(
        (demand.need for demand in _demands(context, flow)),
        builds=bool(flow.calls or flow.called_elsewhere),
        sure=surely_norms and flow.sure_elsewhere,
        escapes=bool(flow.escapes),
    )


def _constructor(context: Context, call: ast.Call) -> Decision:
    return context.strategy.constructor(context, call, context.names.norms(call.func)[0])


def split_chain(
    context: Context, node: ast.expr
) -> tuple[ast.Assign, list[ast.expr], list[ast.expr]] | None:
    """``A = B = nn.BatchNorm2d`` in which some names have to stay a class and others need not.

    The statement, the targets that stay a class, and the others.
    """
    statement = context.tree.parent(node)
    if not isinstance(statement, ast.Assign) or len(statement.targets) < 2:
        return None
    kept: list[ast.expr] = []
    wrapped: list[ast.expr] = []
    for target in statement.targets:
        flow = trace_target(context.names, target, node)
        demands = _demands(context, flow)
        if demands and (flow.is_built or any(d.need not in TESTS for d in demands)):
            return None
        (kept if demands else wrapped).append(target)
    return (statement, kept, wrapped) if kept and wrapped else None


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


def _why(context: Context, demands: list[Demand]) -> str:
    """The reasons, each with the first piece of code that it holds for."""
    first: dict[Need, Demand] = {}
    for demand in sorted(demands, key=lambda d: context.line(d.node)):
        first.setdefault(demand.need, demand)
    return "; ".join(f"{need.value} ({_place(d)})" for need, d in first.items())


def _place(demand: Demand) -> str:
    place = demand.elsewhere.place if demand.elsewhere else ""
    return f"{_code(demand)} in {place}" if place else _code(demand)


def _code(demand: Demand) -> str:
    """The code that makes the demand, in whatever file."""
    return demand.elsewhere.code if demand.elsewhere else excerpt(demand.node)


def _callee(code: str) -> str:
    """The last names of what an excerpt calls: ``patch object``."""
    return " ".join(code.partition("(")[0].split(".")[-2:])


def _open(context: Context, norm: NormClass, demands: list[Demand]) -> Open:
    return Open(
        f"{norm.name} has to stay a class here: {_why(context, demands)}",
        "pass functools.partial(…, track_running_stats=False) or a factory to the calls, and keep"
        " the class for the tests",
    )


def _open_test(node: ast.expr) -> Open:
    return Open(
        f"this comparison decides by a class that the file passes on ({ast.unparse(node)})",
        "rewrite the test together with the value: compare with the class before it is wrapped",
    )
