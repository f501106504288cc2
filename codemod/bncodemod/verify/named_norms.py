"""GroupNorms that are named: by a string that a library reads, or in a configuration.

No rule speaks of them, as they need no rewrite; a rewrite to GroupNorm has written some of them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from bncodemod.scan.libraries import mentions_library
from bncodemod.scan.names import Names
from bncodemod.source.dotted_names import last_name
from bncodemod.source.tree import LazyTree

# Of the rules that write them: in registries, and for MONAI.
CONFIGURATIONS = ("BN108", "BN109")
WORDS = (b"groupnorm", b'"GN"', b"'GN'", b'"group"', b"'group'")
_GROUPS = "num_groups"
_NAMED = re.compile(r"""['"](?:gn|group|groupnorm)['"]""", re.IGNORECASE)
_GIVE_A_VALUE = frozenset({"partial", "getattr", "dict", "partialmethod"})


def named_group_norms(names: Names) -> Iterator[tuple[ast.expr, str]]:
    """The expressions that name them, with the code of the rule that writes such."""
    tree = names.tree
    if not _NAMED.search(tree.source.text):
        return
    tree.expand(tree.module)
    monai, timm = (mentions_library(names, library) for library in ("monai", "timm"))
    for node in ast.walk(tree.module):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        above, word = tree.parents.get(node), node.value.lower()
        if node.value == "GN":
            holder = tree.parents.get(above) if isinstance(above, ast.keyword) else above
            if isinstance(holder, (ast.Call, ast.Dict)) and _GROUPS in _keys(holder):
                yield holder, "BN108"
        elif monai and word == "group" and isinstance(above, ast.Tuple):
            if len(above.elts) == 2 and _GROUPS in _keys(above.elts[1]):
                yield above, "BN109"
        elif timm and word == "groupnorm":
            call = tree.parents.get(above) if isinstance(above, ast.keyword) else above
            if isinstance(call, ast.Call):
                yield call, "BN111" if _GROUPS in _keys(call) else ""


def user_of(tree: LazyTree, node: ast.expr) -> ast.expr:
    """The call that a configuration is handed to, which builds norms; else what it is itself."""
    above = tree.parents.get(node)
    while isinstance(above, (ast.keyword, ast.Tuple)):
        above = tree.parents.get(above)
    if not isinstance(above, ast.Call) or above.func is node or "type" in _keys(above):
        return node  # or part of a larger configuration
    return node if last_name(above.func) in _GIVE_A_VALUE else above


def _keys(node: ast.expr) -> set[object]:
    """The keys of a dict, written as a call or as it is."""
    if isinstance(node, ast.Call):
        return {keyword.arg for keyword in node.keywords}
    keys = node.keys if isinstance(node, ast.Dict) else []
    return {key.value for key in keys if isinstance(key, ast.Constant)}
