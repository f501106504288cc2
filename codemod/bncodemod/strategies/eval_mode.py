"""``eval-mode``: modules are put into eval mode around the calls that run them under a transform.

It is option 4 of PyTorch's page "Patching Batch Norm", but each submodule gets back the mode that
it was in: the page's ``model.train()`` would unfreeze what was frozen.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence

from bncodemod.source.splice import Edit
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Decision, Open, Safe
from bncodemod.strategies.lines import before, stands_alone
from bncodemod.strategies.no_running_stats import NoRunningStats

NAME = "eval-mode"
HELPER = "evaluating"
_SIMPLE = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Expr, ast.Return, ast.Assert)
_SUSPENDS = (ast.Await, ast.Yield, ast.YieldFrom)
_CONSUMERS = frozenset(
    {"all", "any", "dict", "list", "max", "min", "set", "sorted", "sum", "tuple"}
)


class EvalMode(NoRunningStats):
    """Leaves the norms; the rule for calls under transforms does the work."""

    name = NAME
    rewrites_source = False

    def settled(
        self, context: Context, node: ast.AST, decision: Decision, undo: Callable[[], None]
    ) -> Decision:
        """Leave every norm as it is; it is safe where calls of the file work with that."""
        if isinstance(decision, Safe):
            return decision
        if context.calls.way:
            return Safe(f"left: {context.calls.reason}")
        known = (
            f"not all models of this file that run under transforms are in eval mode there:"
            f" {context.calls.doubt}"
            if context.calls.doubt
            else "in this file no model is called in eval mode under vmap or another transform"
        )
        return Open(
            f"eval-mode leaves norms as they are, and {known}",
            "put the model into eval mode where it is called under one, or rewrite with"
            " --strategy no-running-stats",
        )


def obstacle(context: Context, node: ast.AST) -> str:
    """Why the statement of a call cannot be put into a ``with`` block; empty if it can."""
    tree = context.tree
    child = node
    for above in tree.ancestors(node):
        if isinstance(above, ast.Lambda) and child is above.body:
            return "it runs when a lambda is called"
        if isinstance(above, ast.GeneratorExp) and child is not above.generators[0]:
            consumer = tree.parents.get(above)
            name = getattr(getattr(consumer, "func", None), "id", "")
            if name not in _CONSUMERS:
                return "it runs when a generator is consumed"
        if isinstance(above, ast.stmt):
            break
        child = above
    statement = tree.statement(node)
    if not isinstance(statement, _SIMPLE):
        return "it is part of a compound statement"
    if any(isinstance(below, _SUSPENDS) for below in ast.walk(statement)):
        return "the statement may be suspended half-way"
    if not stands_alone(tree, statement):
        return "the statement shares its line with another"
    return ""


def wrapped(
    context: Context, statement: ast.stmt, modules: Sequence[str], *, goes_on: bool
) -> Edit:
    """An edit that puts a statement into ``with evaluating(…):``.

    ``goes_on`` says that the statement above it is in such a block, which then holds both.
    """
    name = _helper(context, statement)
    indent = before(context.tree, statement)
    unit = _unit(context, statement, indent)
    newline = context.newline(statement)
    start, end = context.tree.span(statement)
    head = "" if goes_on else f"with {name}({', '.join(modules)}):{newline}{indent}"
    return Edit(start, end, lambda text: head + unit + _indented(text, unit))


def statement_above(context: Context, statement: ast.stmt) -> ast.stmt | None:
    """The statement before one in its block, if nothing but blank lines is between them."""
    parent = context.tree.parent(statement)
    for name in ("body", "orelse", "finalbody"):
        block = getattr(parent, name, None)
        if isinstance(block, list) and statement in block[1:]:
            above: ast.stmt = block[block.index(statement) - 1]
            between = context.tree.span(above)[1], context.tree.span(statement)[0]
            return None if context.tree.source.text[slice(*between)].strip() else above
    return None


def _unit(context: Context, statement: ast.stmt, indent: str) -> str:
    """What one level of indentation is here: that of the block around, else of the file."""
    parent = context.tree.parents.get(statement)
    while isinstance(parent, (ast.ExceptHandler, ast.match_case)):
        parent = context.tree.parents.get(parent)
    outer = _indent_of(context, parent) if isinstance(parent, ast.stmt) else None
    if outer is not None and indent.startswith(outer) and indent != outer:
        return indent[len(outer) :]
    for top in context.tree.module.body:
        body = getattr(top, "body", None)
        if isinstance(body, list) and body and body[0].lineno > top.lineno:
            return _indent_of(context, body[0]) or "    "
    return "    "


def _indent_of(context: Context, statement: ast.AST) -> str:
    head = before(context.tree, statement)
    return head[: len(head) - len(head.lstrip(" \t"))]


def _indented(text: str, unit: str) -> str:
    """The lines of a statement one level deeper; what is inside a string stays as it is."""
    inside = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.Constant, ast.JoinedStr)) and node.end_lineno is not None
        for line in range(node.lineno + 1, node.end_lineno + 1)
    }
    lines = re.split(r"(?<=\n)|(?<=\r)(?!\n)", text)  # as Python does: not at form feeds
    return "".join(
        unit + line if number > 1 and number not in inside and line.strip() else line
        for number, line in enumerate(lines, 1)
    )


def _helper(context: Context, at: ast.stmt) -> str:
    """The name of the helper, which is added where it is missing."""
    imports = context.imports
    wanted = HELPER
    while context.tree.occurrences(wanted):
        standing = context.names.function(wanted, before=imports.top_level(at))
        if standing is not None and _is_helper(standing):
            return wanted
        wanted = f"_{wanted}"
    return imports.helper(
        HELPER,
        at,
        lambda name: _code(name, imports.name_above_helpers("contextlib.contextmanager", at)),
    )


def _is_helper(function: ast.FunctionDef) -> bool:
    """Whether a function is the helper: one of that name may do something else."""
    decorators = [ast.unparse(node) for node in function.decorator_list]
    if len(decorators) != 1 or decorators[0].rpartition(".")[2] != "contextmanager":
        return False
    own = ast.parse(_code(function.name, decorators[0])).body[0]
    assert isinstance(own, ast.FunctionDef)
    return _behaviour(function) == _behaviour(own)


def _behaviour(function: ast.FunctionDef) -> str:
    """The arguments and the body of a function, without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return "\n".join(map(ast.dump, (function.args, *body)))


def _code(name: str, decorator: str) -> str:
    return f'''\
@{decorator}
def {name}(*models):
    """Put ``models`` into eval mode; afterwards each submodule is in the mode that it was in."""
    models = [model for model in models if hasattr(model, "modules")]  # a function has no mode
    modes = {{module: module.training for model in models for module in model.modules()}}
    for model in models:
        model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
'''
