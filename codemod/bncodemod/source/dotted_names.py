"""Dotted names: ``model``, ``nn.BatchNorm2d``, ``self.backbone.norm``; parts of what they name."""

from __future__ import annotations

import ast


def dotted(node: ast.AST) -> str:
    """A name with the attributes that are read from it; empty for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def last_name(node: ast.AST) -> str:
    """The attribute that an expression reads, or the name that it is; empty for anything else."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def root_of(node: ast.expr) -> ast.expr:
    """What an expression begins with, be it a name or not: ``net`` in ``net.blocks[0].norm``."""
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node
