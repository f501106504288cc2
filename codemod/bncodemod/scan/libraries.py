"""Where a file names something that it imports from a given library."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from bncodemod.scan.names import Names

Reference = tuple[ast.expr, str]


def references(names: Names, root: str, exported: Iterable[str]) -> list[Reference]:
    """The dotted expressions that begin with an import from the package ``root``, and their names.

    ``exported`` are qualified names that a star import from it may bring in.
    """
    tree = names.tree
    tree.search_text(root, beside="import")
    local: set[str] = set()
    for alias in tree.of_type(ast.alias):
        statement = tree.parent(alias)
        module = statement.module if isinstance(statement, ast.ImportFrom) else alias.name
        if (module or "").partition(".")[0] == root and not getattr(statement, "level", 0):
            local.add(alias.asname or alias.name.partition(".")[0])
    for star in names.star_modules:
        if (star.module or "").partition(".")[0] == root and not star.level:
            prefix = f"{star.module}."
            local.update(q[len(prefix) :] for q in exported if q.startswith(prefix))
    return _sorted(
        (chain, names.qualified(chain))
        for name in local
        for node in tree.occurrences(name)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
        for chain in [_whole(names, node)]
        if names.qualified(chain).partition(".")[0] == root
    )


def uses_of(names: Names, wanted: Iterable[str]) -> list[Reference]:
    """The expressions that are one of the ``wanted`` qualified names."""
    wanted = frozenset(wanted)
    text = names.tree.source.text
    return _sorted(
        (node, qualified)
        for last in {name.rpartition(".")[2] for name in wanted}
        if last in text
        for node in _named(names, last)
        for qualified in [names.qualified(node)]
        if qualified in wanted
    )


def _named(names: Names, last: str) -> Iterator[ast.expr]:
    """The reads of a name, of an attribute, or of what an import renames it to."""
    local = {last}
    for node in names.tree.occurrences(last):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield node
    names.tree.search_text(last, beside="import")
    local.update(a.asname for a in names.tree.of_type(ast.alias) if a.name == last and a.asname)
    for name in local:
        for node in names.tree.occurrences(name):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                yield node


def _whole(names: Names, node: ast.expr) -> ast.expr:
    """The longest chain of attributes that begins with a name."""
    above = names.tree.parents.get(node)
    while isinstance(above, ast.Attribute):
        node, above = above, names.tree.parents.get(above)
    return node


def _sorted(found: Iterable[Reference]) -> list[Reference]:
    return sorted(found, key=lambda pair: (pair[0].lineno, pair[0].col_offset))
