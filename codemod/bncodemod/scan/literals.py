"""Constants that stand in the source: the few whose value matters."""

from __future__ import annotations

import ast


def is_none(node: ast.AST | None) -> bool:
    """Whether an expression is written ``None``."""
    return isinstance(node, ast.Constant) and node.value is None


def is_false(node: ast.AST | None) -> bool:
    """Whether an expression is written ``False``."""
    return isinstance(node, ast.Constant) and node.value is False


def string(node: ast.AST | None) -> str:
    """The value of a string literal; empty for everything else."""
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, str) else ""
