"""``isinstance(m, nn.BatchNorm2d)``: the GroupNorm that stands there now no longer matches.

Weight initialisation is the usual case. Where the branch touches nothing but weight, bias and
parameters, GroupNorm is added to the test.

Before:
    if isinstance(m, nn.BatchNorm2d):
        nn.init.ones_(m.weight)
After (group-norm):
    if isinstance(m, (nn.BatchNorm2d, nn.GroupNorm)):
        nn.init.ones_(m.weight)

Elsewhere the test is open under group-norm. Under no-running-stats it stays right.

By hand: add ``nn.GroupNorm`` to the test if the branch is right for it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial

from bncodemod.rules.class_reference import split_chain
from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.class_tests import class_tests, isinstance_uses
from bncodemod.scan.flow import Need, trace, trace_target
from bncodemod.scan.mentions import Mention, Role
from bncodemod.source.splice import Edit
from bncodemod.strategies import call_edit
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Decision, Open, Rewrite, Safe

rule = Rule("BN305", "type test", priority=15)

_HARMLESS = frozenset(
    {"weight", "bias", "affine", "parameters", "named_parameters", "reset_parameters"}
)
_Uses = tuple[ast.Attribute, ...] | None


@rule.finds
def type_tests(context: Context) -> Iterator[Match]:
    """Every test against a batch norm class, and every tuple of classes used in tests alone."""
    if context.keeps_batch_norm:
        return
    for test in class_tests(context.names, context.mentions):
        yield Match(test.node, partial(_decide, context, test.mentions[0], test.classes, test.uses))
    holders: dict[ast.expr, Mention] = {}
    for mention in context.mentions:
        if mention.role is Role.VALUE and mention.norm.family == "batch":
            above = context.tree.parent(mention.node)
            if isinstance(above, (ast.Tuple, ast.List, ast.Set)):
                holders.setdefault(above, mention)
            else:
                yield from _alias_tests(context, mention)
    for holder, mention in holders.items():
        flow = trace(context.names, holder)
        if flow.demands and not flow.calls and not flow.escapes:
            tests = [d.node for d in flow.demands if d.need is Need.INSTANCE_TEST]
            only = tests if len(tests) == len(flow.demands) else []
            yield Match(holder, partial(_decide_holder, context, mention, holder, only))


def _alias_tests(context: Context, mention: Mention) -> Iterator[Match]:
    """The tests against a variable that holds the class and has no other use."""
    chain = split_chain(context, mention.node)
    if chain is not None:
        flows = [trace_target(context.names, target, mention.node) for target in chain[1]]
    else:
        flows = [trace(context.names, mention.node)]
    for flow in flows:
        if flow.calls or flow.escapes:
            continue
        for demand in flow.demands:
            test = demand.node
            is_call = demand.need is Need.INSTANCE_TEST and isinstance(test, ast.Call)
            classes = test.args[1] if is_call and isinstance(test, ast.Call) else None
            uses = isinstance_uses(context.names, test)
            yield Match(test, partial(_decide, context, mention, classes, uses))


def _decide_holder(
    context: Context, mention: Mention, holder: ast.expr, tests: list[ast.AST]
) -> Decision:
    """Extend a tuple of classes that nothing but the ``tests`` use; report other holders."""
    uses: list[ast.Attribute] = []
    extensible = bool(tests) and isinstance(holder, ast.Tuple)
    for test in tests:
        found = isinstance_uses(context.names, test)
        extensible &= found is not None
        uses += found or ()
    return _decide(context, mention, holder, tuple(uses) if extensible else None)


def _decide(context: Context, mention: Mention, classes: ast.expr | None, uses: _Uses) -> Decision:
    if classes is not None and _names_group_norm(context, classes):
        return Safe("GroupNorm is tested for as well")
    if classes is None or uses is None or not {use.attr for use in uses} <= _HARMLESS:
        return Open(
            f"a GroupNorm in the place of {mention.norm.name} does not match this test",
            "add nn.GroupNorm to the test if the branch is right for it",
        )
    written = context.imports.name_for("torch.nn.GroupNorm", mention.node)
    start, end = context.tree.span(classes)
    newline = context.newline(classes)
    is_tuple = isinstance(classes, ast.Tuple)
    is_union = isinstance(classes, ast.BinOp)

    def extend(text: str) -> str:
        if is_union:
            return f"{text} | {written}"
        if not is_tuple:
            return f"({text}, {written})"
        if not text.startswith("("):
            return f"{text.rstrip(',')}, {written}"
        called = call_edit.edit_call(
            f"_{text}", newline, lambda call: call_edit.append(call, None, written)
        )
        return called[1:]

    return Rewrite((Edit(start, end, extend),), "the test holds for GroupNorm as well")


def _names_group_norm(context: Context, classes: ast.expr) -> bool:
    elements = classes.elts if isinstance(classes, ast.Tuple) else [classes]
    return any(context.names.qualified(element).endswith("nn.GroupNorm") for element in elements)
