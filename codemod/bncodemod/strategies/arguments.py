"""How the arguments of a call fall on the parameters of a norm's constructor."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from bncodemod.catalog.torch import FLAG
from bncodemod.scan.literals import is_false


@dataclass(slots=True)
class Arguments:
    """The arguments of a call by parameter name.

    ``index`` holds each argument's place in the call as LibCST lists it: positional arguments and
    keywords in the order of the source, the class that a partial wraps not counted.
    """

    value: dict[str, ast.expr] = field(default_factory=dict)
    index: dict[str, int] = field(default_factory=dict)
    positional: set[str] = field(default_factory=set)
    stars: list[ast.Starred] = field(default_factory=list)
    double_stars: list[ast.keyword] = field(default_factory=list)
    surplus: bool = False
    star_reaches: bool = False
    """Whether a star surely holds the flag, or stands where the flag would."""

    @property
    def opaque(self) -> bool:
        """Whether stars hide some of the arguments."""
        return bool(self.stars or self.double_stars)


def bind(call: ast.Call, parameters: tuple[str, ...], skip: int = 0) -> Arguments:
    """Bind the arguments of ``call``, its first ``skip`` left out, to ``parameters``."""
    bound = Arguments()
    items: list[ast.expr | ast.keyword] = sorted(
        [*call.args[skip:], *call.keywords],
        key=lambda item: (item.lineno, item.col_offset),
    )
    place = 0
    for index, item in enumerate(items):
        if isinstance(item, ast.Starred):
            bound.stars.append(item)
            held = len(item.value.elts) if isinstance(item.value, (ast.List, ast.Tuple)) else 1
            flag = parameters.index(FLAG) if FLAG in parameters else len(parameters)
            bound.star_reaches |= place + held > flag
        elif isinstance(item, ast.keyword):
            if item.arg is None:
                bound.double_stars.append(item)
            else:
                bound.value[item.arg] = item.value
                bound.index[item.arg] = index
        elif bound.stars:
            continue  # what follows a star has no known parameter
        elif place < len(parameters):
            name = parameters[place]
            place += 1
            bound.value[name], bound.index[name] = item, index
            bound.positional.add(name)
        else:
            bound.surplus = True
    return bound


def flag_is_off(bound: Arguments) -> bool:
    """Whether the call surely says ``track_running_stats=False``."""
    value = bound.value.get(FLAG)
    if value is not None:
        return is_false(value)
    return any(_merges_false(star.value) for star in bound.double_stars)


def copied_from(bound: Arguments) -> str | None:
    """The module that a call copies, its number of channels and its flag alike, if it does."""
    sources = []
    for name in ("num_features", FLAG):
        value = bound.value.get(name)
        reads = [n for n in ast.walk(value) if isinstance(n, ast.Attribute)] if value else []
        sources.append({ast.unparse(n.value) for n in reads if n.attr == name})
    common = sources[0] & sources[1]
    return min(common, default=None)


def is_pure(node: ast.expr) -> bool:
    """Whether an expression may be left out without anything but its value being lost."""
    effects = (ast.Call, ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr)
    return not any(isinstance(n, effects) for n in ast.walk(node))


def _merges_false(node: ast.expr) -> bool:
    """Whether ``**{…, "track_running_stats": False}`` ends with the flag switched off."""
    if not isinstance(node, ast.Dict) or not node.keys:
        return False
    key, value = node.keys[-1], node.values[-1]
    return (
        isinstance(key, ast.Constant)
        and key.value == FLAG
        and isinstance(value, ast.Constant)
        and value.value is False
    )


def integer(node: ast.expr | None) -> int | None:
    """The value of an integer literal, or of arithmetic on such; None where it is not known."""
    if isinstance(node, ast.Constant):
        return node.value if type(node.value) is int else None
    if isinstance(node, ast.BinOp):
        left, right = integer(node.left), integer(node.right)
        if left is None or right is None:
            return None
        if isinstance(node.op, ast.Mult):
            return left * right
        if isinstance(node.op, ast.Add):
            return left + right
        if isinstance(node.op, ast.Sub):
            return left - right
        if isinstance(node.op, ast.FloorDiv) and right:
            return left // right
    return None
