"""The trees of classes and functions that were imported, with the line numbers of their files."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
import types
from collections.abc import Callable
from typing import Any


def tree_of(target: Callable[..., Any] | None) -> ast.Module | None:
    """The tree of a class's or function's source, to be read only; None where there is none."""
    own = inspect.unwrap(target) if target is not None else None
    if not isinstance(own, (type, types.FunctionType)):
        return None
    try:
        return _parsed(own)
    except TypeError:  # a class need not be hashable
        return None


@functools.lru_cache(maxsize=256)
def _parsed(own: type | types.FunctionType) -> ast.Module | None:
    # Kept, as inspect parses the whole file to find a class.
    try:
        lines, start = inspect.getsourcelines(own)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, SyntaxError, TypeError):
        return None
    ast.increment_lineno(tree, max(start - 1, 0))
    return tree
