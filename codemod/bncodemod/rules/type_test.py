"""``isinstance(m, nn.BatchNorm2d)``: the GroupNorm that stands there now no longer matches.

Weight initialisation is the usual case. Where the branch does nothing that a GroupNorm could not
take (it touches weight, bias and parameters, or sets eps), GroupNorm is added to the test, be it
``isinstance``, ``type(m) is``, ``type(m) in`` or a tuple of classes that only tests use.

Before:
    if isinstance(m, nn.BatchNorm2d):
        nn.init.ones_(m.weight)
After (group-norm):
    if isinstance(m, (nn.BatchNorm2d, nn.GroupNorm)):
        nn.init.ones_(m.weight)

Elsewhere the test is open under group-norm, and everywhere where ``--patch group-norm`` changes
models that are built. Under no-running-stats it stays right.

By hand: add ``nn.GroupNorm`` to the test if the branch is right for it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import partial

from bncodemod.rules.class_demands import split_chain
from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.class_tests import ClassTest, class_tests, isinstance_uses
from bncodemod.scan.flow import trace, trace_target
from bncodemod.scan.mentions import Mention, Role
from bncodemod.scan.need import TESTS, Need
from bncodemod.source.splice import Edit
from bncodemod.strategies import call_edit
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Decision, Open, Rewrite, Safe

rule = Rule("BN305", "type test", priority=15, at_run_time=True)

# What a GroupNorm has as well, with the same meaning.
_HARMLESS = frozenset(
    {
        "affine",
        "apply",
        "bias",
        "cpu",
        "cuda",
        "double",
        "eps",
        "float",
        "half",
        "named_parameters",
        "parameters",
        "requires_grad_",
        "reset_parameters",
        "to",
        "training",
        "weight",
    }
)
# A GroupNorm has no momentum, and takes one without effect.
_HARMLESS_TO_SET = frozenset({"eps", "momentum"})
_Uses = tuple[ast.Attribute, ...] | None
_MET = Safe("GroupNorm is tested for as well")
_NORM = re.compile(r"norm\w*$", re.IGNORECASE)
_Display = (ast.Tuple, ast.List, ast.Set)


@rule.finds
def type_tests(context: Context) -> Iterator[Match]:
    """Every test against a batch norm class, and every tuple of classes used in tests alone."""
    if context.keeps_batch_norm:
        if context.patches_to_group_norms:
            yield from _tests_of_patched(context)
        return
    for test in class_tests(context.names, context.mentions):
        decide = partial(_decide, context, test.mentions[0], _classes(test), test.uses)
        yield Match(test.node, decide)
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
        if flow.demands and not flow.is_built:
            tests = [
                d.node
                for d in flow.demands
                if d.need is Need.INSTANCE_TEST or _is_membership(d.node)
            ]
            only = tests if len(tests) == len(flow.demands) else []
            yield Match(holder, partial(_decide_holder, context, mention, holder, only))


def _tests_of_patched(context: Context) -> Iterator[Match]:
    """The tests that a GroupNorm of a patched model does not meet, if they run behind the patch."""
    for test in class_tests(context.names, context.mentions):
        if not context.patches.keeps(test.node):
            yield Match(test.node, partial(_of_patched, context, test))


def _of_patched(context: Context, test: ClassTest) -> Decision:
    is_met = test.classes is not None and _names_group_norm(context, test.classes)
    return _MET if is_met else _unmet(test.mentions[0])


def is_extensible(test: ClassTest) -> bool:
    """Whether GroupNorm can be added to a test with the branch staying right."""
    return _classes(test) is not None and _are_harmless(test.uses)


def _classes(test: ClassTest) -> ast.expr | None:
    """The classes that a test compares with, if others can be added to them."""
    node = test.node
    if not isinstance(node, ast.Compare) or len(node.ops) > 1 or not _asks_for_class(node.left):
        return test.classes
    compared = node.comparators[0]
    if isinstance(node.ops[0], ast.In):
        return compared if isinstance(compared, _Display) else None
    return compared if isinstance(node.ops[0], (ast.Is, ast.Eq)) else None


def _asks_for_class(node: ast.expr) -> bool:
    """Whether an expression is ``type(m)`` or ``m.__class__``."""
    if isinstance(node, ast.Attribute):
        return node.attr == "__class__"
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "type" and len(node.args) == 1


def _is_membership(node: ast.AST) -> bool:
    """Whether a node is ``type(m) in …``."""
    return (
        isinstance(node, ast.Compare)
        and len(node.ops) == 1
        and isinstance(node.ops[0], ast.In)
        and _asks_for_class(node.left)
    )


def _are_harmless(uses: _Uses) -> bool:
    """Whether a GroupNorm could take all that a branch does."""
    return uses is not None and all(
        use.attr in (_HARMLESS if isinstance(use.ctx, ast.Load) else _HARMLESS_TO_SET)
        for use in uses
    )


def _alias_tests(context: Context, mention: Mention) -> Iterator[Match]:
    """The tests against a variable that holds the class and has no other use."""
    chain = split_chain(context, mention.node)
    if chain is not None:
        flows = [trace_target(context.names, target, mention.node) for target in chain[1]]
    else:
        flows = [trace(context.names, mention.node)]
    for flow in flows:
        if flow.is_built:
            continue
        for demand in flow.demands:
            if demand.elsewhere is not None or demand.need not in TESTS:
                continue
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
    in_isinstance = any(isinstance(test, ast.Call) for test in tests)
    extensible = bool(tests) and (isinstance(holder, ast.Tuple) or not in_isinstance)
    for test in tests:
        found = isinstance_uses(context.names, test)
        extensible &= found is not None
        uses += found or ()
    return _decide(context, mention, holder, tuple(uses) if extensible else None)


def _decide(context: Context, mention: Mention, classes: ast.expr | None, uses: _Uses) -> Decision:
    if classes is not None and _names_group_norm(context, classes):
        return _MET
    if classes is None or not _are_harmless(uses) or _is_copied(context, uses):
        return _unmet(mention)
    written = context.imports.name_for("torch.nn.GroupNorm", mention.node)
    above = context.tree.parent(classes)
    if isinstance(above, ast.Compare) and not isinstance(above.ops[0], ast.In):
        edit = _as_membership(context, above, classes, written)
    else:
        edit = _with_class(context, classes, written)
    return Rewrite((edit,), "the test holds for GroupNorm as well")


def _unmet(mention: Mention) -> Open:
    return Open(
        f"a GroupNorm in the place of {mention.norm.name} does not match this test",
        "add nn.GroupNorm to the test if the branch is right for it",
    )


def _is_copied(context: Context, uses: _Uses) -> bool:
    """Whether the branch builds a norm from the tested one, which is a question of its own."""
    return any(
        isinstance(above, ast.Call) and _NORM.search(ast.unparse(above.func))
        for use in uses or ()
        for above in context.tree.ancestors(use)
    )


def _as_membership(context: Context, test: ast.Compare, classes: ast.expr, written: str) -> Edit:
    """``type(m) is X`` as ``type(m) in (X, nn.GroupNorm)``."""
    start, end = context.tree.span(test)
    left = context.tree.span(test.left)[1] - start
    right = context.tree.span(classes)[0] - start
    word = "is" if isinstance(test.ops[0], ast.Is) else "=="

    def ask(text: str) -> str:
        operator = text[left:right].replace(word, "in", 1)
        return f"{text[:left]}{operator}({text[right:]}, {written})"

    return Edit(start, end, ask)


def _with_class(context: Context, classes: ast.expr, written: str) -> Edit:
    """One class more in a tuple, list, set or union, or beside a class."""
    start, end = context.tree.span(classes)
    newline = context.newline(classes)

    def extend(text: str) -> str:
        if isinstance(classes, ast.BinOp):
            return f"{text} | {written}"
        if not isinstance(classes, _Display):
            return f"({text}, {written})"
        if isinstance(classes, ast.Tuple) and not text.startswith("("):
            return f"{text.rstrip(',')}, {written}"
        called = call_edit.edit_call(
            f"_({text[1:-1]})", newline, lambda call: call_edit.append(call, None, written)
        )
        return f"{text[0]}{called[2:-1]}{text[-1]}"

    return Edit(start, end, extend)


def _names_group_norm(context: Context, classes: ast.expr) -> bool:
    elements = classes.elts if isinstance(classes, _Display) else [classes]
    return any(context.names.qualified(element).endswith("nn.GroupNorm") for element in elements)
