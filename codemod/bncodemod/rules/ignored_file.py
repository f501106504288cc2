"""A norm comes from a file of the project that no sweep rewrites.

Files that .gitignore or ``exclude`` names (generated code, ``build/``) are read but never changed.
A norm that such a file only gives another name, and a class without an ``__init__`` under
no-running-stats, are dealt with where they are built. All else that the file may build stays as it
is, and is reported where it is imported.

Before:
    from gen.blocks import ConvBlock

By hand: name the file when bncodemod is run (a path that is named is swept even if it is ignored),
or take the norm from a file that is not ignored.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial

from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.scopes import imported
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Open

rule = Rule("BN207", "ignored file")


@rule.finds
def ignored_files(context: Context) -> Iterator[Match]:
    """Imports from files of the project that are ignored and may build norms."""
    ignored = context.names.index.ignored
    if not ignored:
        return
    context.tree.expand_imports()
    for alias in context.tree.of_type(ast.alias):
        statement = context.tree.parent(alias)
        plain = isinstance(statement, ast.Import)
        path = ignored.get(alias.name if plain else imported(alias, statement))
        if path is not None:
            yield Match(alias, partial(_open, alias.name, path))


def _open(name: str, path: str) -> Open:
    what = "what it holds" if name == "*" else name
    return Open(
        f"{what} comes from {path}, which is ignored: batch norms in there stay as they are",
        f"run bncodemod on {path} as well, or take the norm from a file that is not ignored",
    )
