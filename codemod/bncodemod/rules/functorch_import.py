"""``replace_all_batch_norm_modules_`` is taken from functorch, where it no longer lives.

Before:
    from functorch.experimental import replace_all_batch_norm_modules_
After:
    from torch.func import replace_all_batch_norm_modules_

Before:
    import functorch.experimental
    functorch.experimental.replace_all_batch_norm_modules_(model)
After:
    import functorch.experimental
    from torch.func import replace_all_batch_norm_modules_
    replace_all_batch_norm_modules_(model)

By hand: import it from ``torch.func`` (PyTorch 2.0 and newer).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial

import libcst as cst

from bncodemod.rules.rule import Match, Rule
from bncodemod.source.splice import Edit
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Decision, Rewrite

rule = Rule("BN401", "old functorch import")

_NAME = "replace_all_batch_norm_modules_"
_HOMES = ("functorch", "functorch.experimental", "functorch.experimental.batch_norm_replacement")


@rule.finds
def old_imports(context: Context) -> Iterator[Match]:
    """Imports of the function from functorch, and its use as an attribute of functorch."""
    for node in context.tree.occurrences(_NAME):
        if isinstance(node, ast.Attribute):
            if context.names.qualified(node).rpartition(".")[0] in _HOMES:
                yield Match(node, partial(_decide_use, context, node))
    for alias in context.tree.of_type(ast.alias):
        statement = context.tree.parent(alias)
        if (
            alias.name == _NAME
            and isinstance(statement, ast.ImportFrom)
            and statement.module in _HOMES
        ):
            yield Match(statement, partial(_decide, context, statement))


def _decide_use(context: Context, node: ast.Attribute) -> Decision:
    written = context.imports.name_for(f"torch.func.{_NAME}", node)
    return Rewrite((context.replace(node, written),), f"{_NAME} is taken from torch.func")


def _decide(context: Context, statement: ast.ImportFrom) -> Decision:
    start, end = context.tree.span(statement)
    source = context.tree.source
    line_start = source.line_start(source.position(start)[0])
    indent = source.text[line_start:start]
    between = "; " if indent.strip() else context.newline(statement) + indent
    newline = context.newline(statement)
    edit = Edit(start, end, lambda text: between.join(_moved(text, newline)))
    return Rewrite((edit,), f"{_NAME} is imported from torch.func")


def _moved(text: str, newline: str) -> list[str]:
    """The statement, or the two that it becomes if it imports more than this function."""
    config = cst.PartialParserConfig(default_newline=newline)
    line = cst.parse_statement(text, config)
    assert isinstance(line, cst.SimpleStatementLine)
    node = line.body[0]
    assert isinstance(node, cst.ImportFrom)
    assert not isinstance(node.names, cst.ImportStar)
    home = cst.Attribute(cst.Name("torch"), cst.Name("func"))
    module = cst.Module([], default_newline=newline)
    moved = [alias for alias in node.names if alias.evaluated_name == _NAME]
    others = [alias for alias in node.names if alias.evaluated_name != _NAME]
    if not others:
        return [module.code_for_node(node.with_changes(module=home))]
    bare = [alias.with_changes(comma=cst.MaybeSentinel.DEFAULT) for alias in moved]
    alone = cst.ImportFrom(module=home, names=bare)
    if node.lpar is None:
        others[-1] = others[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
    return [
        module.code_for_node(node.with_changes(names=others)),
        module.code_for_node(alone),
    ]
