"""What the uses of a batch norm class demand of what takes its place, and who can meet that."""

from __future__ import annotations

import ast
import re

from bncodemod.catalog.torch import FLAG, NormClass, norm_class
from bncodemod.scan.demand import Demand, Flow
from bncodemod.scan.excerpt import excerpt
from bncodemod.scan.flow import trace_target
from bncodemod.scan.mentions import Role
from bncodemod.scan.need import TESTS, Need, calls_can_carry
from bncodemod.strategies.arguments import bind
from bncodemod.strategies.batch_norm_class import LACKS, BatchNormClass
from bncodemod.strategies.context import Context

# torchvision's ConvNormActivation is no such thing: it calls norm_layer with the channels alone.
_FUSED = re.compile(r"\b\w*(?:[Nn]orm_?[Aa]ct|[Bb]n_?[Aa]ct)(?!ivation)\w*\b")
_MEANT_FOR_THE_FLAG = frozenset({Need.FLAG_BY_KEYWORD, Need.FLAG_BY_POSITION, Need.FLAG_BY_STAR})
# What says where a class comes from says another thing of any class but torch's.
_ORIGIN = frozenset({"__module__", "__qualname__", "__bases__", "__base__", "__mro__", "mro"})
# Callees that look for modules of a class, which a GroupNorm built otherwise does not match.
_SEARCH = re.compile(
    r"isinstance|issubclass|find|filter|exclu|skip|convert|replace|swap|count|patch|policy|hasattr"
    r"|getsource|getmodule|isclass|named_modules|modules_of|types?$|assert|^__",
    re.IGNORECASE,
)


def demands_on(context: Context, node: ast.expr, norm: NormClass, flow: Flow) -> list[Demand]:
    """The same for the class that ``node`` names, where its calls or a class body say more."""
    demands = [*demands_of(context, flow), *_of_attributes(context, node, flow)]
    return demands + (_flags_by_position(flow, norm) if context.keeps_batch_norm else [])


def demands_of(context: Context, flow: Flow) -> list[Demand]:
    """The uses of a value that break where a function or partial takes its place.

    Code that unwraps ``.func`` is ready for a partial. A GroupNorm's factory ignores the flag.
    """
    if not context.keeps_batch_norm:
        return [d for d in flow.demands if d.need not in _MEANT_FOR_THE_FLAG]
    survive = {Need.FUNCTION_TEST}
    if flow.unwrapped:
        survive |= {Need.IDENTITY, Need.ATTRIBUTE}
    return [d for d in flow.demands if d.need not in survive]


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
    if class_body(context, node) is not None:
        statement = context.tree.statement(node)
        targets = getattr(statement, "targets", [getattr(statement, "target", None)])
        direct = {target for target in targets if isinstance(target, ast.Name)}
    return [Demand(t, Need.METHOD) for t in flow.class_attributes if t not in direct]


def class_meets(
    context: Context, node: ast.expr, norm: NormClass, flow: Flow, demand: Demand
) -> bool:
    """Whether the strategy's class does where the file, or another, needs torch's class."""
    if demand.need not in context.strategy.class_meets or not has_class(context, node, norm):
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


def has_class(context: Context, node: ast.expr, norm: NormClass) -> bool:
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


def own_nodes(context: Context, demands: list[Demand]) -> tuple[ast.AST, ...]:
    """The uses in this file, but for those that name torch's class themselves."""
    named = {
        above
        for mention in context.mentions
        if mention.role is Role.TEST
        for above in context.tree.ancestors(mention.node)
    }
    return tuple(d.node for d in demands if d.elsewhere is None and d.node not in named)


def calls_may_carry(context: Context, flow: Flow) -> bool:
    """Whether every use is seen, every call is sure to build a norm, and the tests stay right."""
    surely_norms = all(
        norm_class(meaning.qualified)
        for call in flow.calls
        for meaning in context.names.meanings(call.func)
    )
    return context.keeps_batch_norm and calls_can_carry(
        (demand.need for demand in demands_of(context, flow)),
        builds=bool(flow.calls or flow.called_elsewhere),
        sure=surely_norms and flow.sure_elsewhere,
        escapes=bool(flow.escapes),
    )


def class_is_safer(context: Context, flow: Flow) -> str:
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
        demands = demands_of(context, flow)
        if demands and (flow.is_built or any(d.need not in TESTS for d in demands)):
            return None
        (kept if demands else wrapped).append(target)
    return (statement, kept, wrapped) if kept and wrapped else None


def class_body(context: Context, node: ast.expr) -> ast.ClassDef | None:
    """The class whose attribute the value is, if it is one."""
    child: ast.AST = node
    above = context.tree.parent(node)
    while isinstance(above, (ast.IfExp, ast.BoolOp)):
        child, above = above, context.tree.parent(above)
    if not isinstance(above, (ast.Assign, ast.AnnAssign)) or above.value is not child:
        return None
    owner = context.names.scopes.scope_of(above)
    return owner if isinstance(owner, ast.ClassDef) else None


def reasons(context: Context, demands: list[Demand]) -> str:
    """Why a value has to stay a class, each reason with the first piece of code that gives it."""
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
