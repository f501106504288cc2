"""A module is built anew from another one: ``type(m)(m.num_features, m.eps, …)``.

Under no-running-stats such a copy follows its source if it takes the flag over, and is then left
alone; without it, it keeps running statistics again. A GroupNorm has other arguments and other
attributes, so that the copy fails.

Before:
    new = type(m)(m.num_features, m.eps, m.momentum, m.affine)

A class that derives from batch norm and builds its own kind (``type(self)(self.num_features)``) is
none of this: its base sees to it (BN103).

By hand: pass ``m.track_running_stats`` on, or build
``nn.GroupNorm(m.num_groups, m.num_channels, m.eps, m.affine)`` where ``m`` is one.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from bncodemod.catalog.torch import FLAG, NORM_CLASSES
from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.construction import derives_from_norm, own_calls
from bncodemod.strategies.arguments import bind
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Open

rule = Rule("BN204", "copy constructor")

_PARAMETERS = NORM_CLASSES["BatchNorm2d"].parameters


@rule.finds
def copy_constructors(context: Context) -> Iterator[Match]:
    """Calls of a module's own class with its ``num_features``."""
    for node in context.tree.occurrences("num_features"):
        if isinstance(node, ast.Attribute):
            for above in context.tree.ancestors(node):
                if isinstance(above, ast.Call) and _calls_class_of(above):
                    if _is_own(context, above):
                        break
                    if not context.keeps_batch_norm:
                        yield Match(above, _open, claims=(node,))
                    elif ast.unparse(node.value) != "self" and _forgets_flag(above):
                        yield Match(above, _open_forgotten)
                    break
                if isinstance(above, ast.stmt):
                    break


def _calls_class_of(call: ast.Call) -> bool:
    func = call.func
    if isinstance(func, ast.Attribute):
        return func.attr == "__class__"
    return isinstance(func, ast.Call) and isinstance(func.func, ast.Name) and func.func.id == "type"


def _is_own(context: Context, call: ast.Call) -> bool:
    """Whether a class derived from batch norm builds its own kind."""
    owners = [a for a in context.tree.ancestors(call) if isinstance(a, ast.ClassDef)][:1]
    return any(
        call in own_calls(context.tree, owner)
        and any(derives_from_norm(context.names, base) for base in owner.bases)
        for owner in owners
    )


def _forgets_flag(call: ast.Call) -> bool:
    """Whether a copy leaves the flag at its default."""
    bound = bind(call, NORM_CLASSES["BatchNorm2d"].parameters)
    return FLAG not in bound.value and not bound.opaque


def _open_forgotten() -> Open:
    return Open(
        f"the copy does not take over {FLAG}: it keeps running statistics again",
        f"pass the {FLAG} of the module on",
    )


def _open() -> Open:
    return Open(
        "the copy is built with batch norm's arguments, which a GroupNorm does not have",
        "build the GroupNorm from num_groups, num_channels, eps and affine",
    )
