"""Where a file names something that it imports from a given library."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from bncodemod.scan.names import Names


def references(
    names: Names, roots: Iterable[str], exported: Iterable[str] = ()
) -> list[tuple[ast.expr, str]]:
    """The dotted expressions that begin with an import from ``roots``, with what they name.

    ``exported`` are qualified names that a star import from one of the roots may bring in.
    """
    tree = names.tree
    roots = tuple(roots)
    for root in roots:
        tree.search_text(root)
    local: set[str] = set()
    for alias in tree.of_type(ast.alias):
        statement = tree.parent(alias)
        module = statement.module if isinstance(statement, ast.ImportFrom) else alias.name
        if (module or "").partition(".")[0] in roots and not getattr(statement, "level", 0):
            local.add(alias.asname or alias.name.partition(".")[0])
    for star in names.star_modules:
        if (star.module or "").partition(".")[0] in roots and not star.level:
            prefix = f"{star.module}."
            local.update(q[len(prefix) :] for q in exported if q.startswith(prefix))
    found = [
        (chain, names.qualified(chain))
        for name in local
        for node in tree.occurrences(name)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
        for chain in [_whole(names, node)]
    ]
    return sorted(
        (pair for pair in found if pair[1].partition(".")[0] in roots),
        key=lambda pair: (pair[0].lineno, pair[0].col_offset),
    )


def _whole(names: Names, node: ast.expr) -> ast.expr:
    """The longest chain of attributes that begins with a name."""
    above = names.tree.parents.get(node)
    while isinstance(above, ast.Attribute):
        node, above = above, names.tree.parents.get(above)
    return node
