"""How code of another place is shown in a message."""

from __future__ import annotations

import ast


def excerpt(node: ast.AST) -> str:
    """What begins a piece of code: its rest may be rewritten, and a second run says the same."""
    if isinstance(node, ast.ClassDef):
        return f"class {node.name}"
    if isinstance(node, ast.Call):
        return f"{ast.unparse(node.func)}(…)"
    if isinstance(node, ast.Compare):
        return f"{ast.unparse(node.left)} …"
    return ast.unparse(node).partition("\n")[0]
