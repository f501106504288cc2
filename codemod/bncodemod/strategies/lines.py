"""The lines on which a statement stands, and what else stands there."""

from __future__ import annotations

import ast

from bncodemod.source.tree import LazyTree

_BLANK = " \t\f\ufeff"


def before(tree: LazyTree, statement: ast.AST) -> str:
    """What stands before a statement in its line: its indentation, where it stands alone."""
    source = tree.source
    start = tree.span(statement)[0]
    return source.text[source.line_start(source.position(start)[0]) : start]


def end_of_line(tree: LazyTree, statement: ast.AST) -> int:
    """Where the line ends on which a statement ends, without its line break."""
    text = tree.source.text
    end = tree.span(statement)[1]
    while end < len(text) and text[end] not in "\r\n":
        end += 1
    return end


def stands_alone(tree: LazyTree, statement: ast.AST) -> bool:
    """Whether nothing but a comment shares the lines of a statement."""
    behind = tree.source.text[tree.span(statement)[1] : end_of_line(tree, statement)]
    return not before(tree, statement).strip(_BLANK) and behind.strip(_BLANK)[:1] in ("", "#")
