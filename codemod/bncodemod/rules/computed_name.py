"""A class of torch.nn is looked up by a name, or code is evaluated from a string.

Before:
    norm = getattr(nn, f"{kind}Norm2d")
    norm = eval(config.norm)
    norm = operator.attrgetter("BatchNorm2d")(nn)
    norm = globals()["BatchNorm2d"]

What the name is, is known only at run time. A name whose known part rules batch norm out
(``getattr(nn, f"Conv{d}d")``) is left alone.

By hand: look the name up in a dict of safe constructors, or call
``torch.func.replace_all_batch_norm_modules_(model)`` once the model is built.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import partial

from bncodemod.catalog.torch import NORM_CLASSES, norm_class
from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.construction import has_init
from bncodemod.scan.mentions import Role
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Open

rule = Rule("BN201", "computed name")

_MODULES = ("torch.nn", "torch.nn.modules", "torch.nn.modules.batchnorm")
_LOOK_UP = (
    "look the name up in a dict of safe constructors, or call"
    " torch.func.replace_all_batch_norm_modules_(model) once the model is built"
)
_TRACKING = tuple(name for name, norm in NORM_CLASSES.items() if norm.tracks)


@rule.finds
def computed_names(context: Context) -> Iterator[Match]:
    """``getattr(nn, …)``, ``nn.__dict__[…]``, ``globals()[…]``, ``attrgetter``, ``eval``."""
    names, tree = context.names, context.tree
    for node in tree.occurrences("getattr"):
        call = tree.parents.get(node)
        if isinstance(call, ast.Call) and node is call.func and len(call.args) > 1:
            module = names.qualified(call.args[0])
            if _may_be_norm(call.args[1], _classes_in(context, module)):
                literal = isinstance(call.args[1], ast.Constant)
                decide = _open_literal if literal else _open_computed
                yield Match(call, partial(decide, module, call.args[1]))
    for name in ("__dict__", "vars"):
        for node in tree.occurrences(name):
            above = tree.parents.get(node)
            module, place = _table(context, node, above)
            if place is not None and _may_be_norm(place.slice, _classes_in(context, module)):
                yield Match(place, partial(_open_computed, module, place.slice))
    if "orm" in tree.source.text:
        yield from _in_namespace(context)
    if "BatchNorm" not in tree.source.text:
        return
    tree.search_text("BatchNorm")
    yield from _attribute_getters(context)
    for constant in tree.of_type(ast.Constant):
        path = constant.value
        if isinstance(path, str) and norm_class(path) is not None:
            if not isinstance(tree.parent(constant), (ast.Expr, ast.Compare)):
                yield Match(constant, partial(_open_path, path))
    for node in tree.occurrences("eval"):
        call = tree.parents.get(node)
        if (
            isinstance(call, ast.Call)
            and names.qualified(call.func) == "builtins.eval"
            and call.args
            and _may_name_norm(call.args[0])
        ):
            yield Match(call, _open_eval)


def _classes_in(context: Context, module: str) -> tuple[str, ...]:
    """The norms with running statistics in a module of torch, or in one of the project."""
    if module in _MODULES:
        return _TRACKING
    below = f"{module}."
    index = context.names.index
    return tuple(
        name.removeprefix(below)
        for name, target in index.names.items()
        if name.startswith(below) and target in index.subclasses
    )


def _own_classes(context: Context) -> tuple[str, ...]:
    """The file's own classes of which the calls carry the flag."""
    if not context.keeps_batch_norm:
        return ()
    index = context.names.index
    owners = (context.tree.parent(m.node) for m in context.mentions if m.role is Role.BASE)
    return tuple(
        owner.name
        for owner in owners
        if isinstance(owner, ast.ClassDef)
        and not has_init(owner)
        and owner.name not in index.rebased
        and (owner.name in index.built_elsewhere or _is_read(context, owner.name))
    )


def _is_read(context: Context, name: str) -> bool:
    return any(
        isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
        for node in context.tree.occurrences(name)
    )


def _in_namespace(context: Context) -> Iterator[Match]:
    """``globals()["BatchNorm2d"]``, where some of the name is said: much else is looked up so.

    Where the file has norms of its own, any name may be one of theirs.
    """
    own = _own_classes(context)
    for name in ("globals", "locals", "vars"):
        for node in context.tree.occurrences(name):
            call = context.tree.parents.get(node)
            if not isinstance(call, ast.Call) or node is not call.func or call.args:
                continue
            place, key = _looked_up(context, call)
            if place is None or key is None:
                continue
            said = "orm" in ast.unparse(key) and _may_be_norm(key)
            if (said or _may_be_norm(key, own)) and context.names.qualified(call.func).startswith(
                "builtins."
            ):
                yield Match(place, partial(_open_namespace, ast.unparse(place)))


def _looked_up(context: Context, mapping: ast.expr) -> tuple[ast.expr | None, ast.expr | None]:
    """The expression that looks a key up in a mapping, and the key: ``m[key]``, ``m.get(key)``."""
    above = context.tree.parents.get(mapping)
    if isinstance(above, ast.Subscript) and above.value is mapping:
        return above, above.slice
    call = context.tree.parents.get(above) if isinstance(above, ast.Attribute) else None
    if isinstance(call, ast.Call) and above is call.func and call.args:
        if isinstance(above, ast.Attribute) and above.attr in ("get", "__getitem__"):
            return call, call.args[0]
    return None, None


def _attribute_getters(context: Context) -> Iterator[Match]:
    """``operator.attrgetter("BatchNorm2d")``, with a path before the name or not."""
    for node in context.tree.occurrences("attrgetter"):
        call = context.tree.parents.get(node)
        if isinstance(call, ast.Call) and node is call.func:
            if context.names.qualified(call.func) == "operator.attrgetter":
                if any(_ends_in_norm(name) for name in call.args):
                    yield Match(call, partial(_open_getter, ast.unparse(call)))


def _ends_in_norm(name: ast.expr) -> bool:
    value = name.value if isinstance(name, ast.Constant) else None
    return isinstance(value, str) and value.rpartition(".")[2] in _TRACKING


def _table(
    context: Context, node: ast.AST, above: ast.AST | None
) -> tuple[str, ast.Subscript | None]:
    """A module and the look-up in its ``__dict__`` or ``vars``."""
    if isinstance(node, ast.Attribute):
        module, place = node.value, above
    elif isinstance(above, ast.Call) and node is above.func and above.args:
        module, place = above.args[0], context.tree.parents.get(above)
    else:
        return "", None
    return context.names.qualified(module), place if isinstance(place, ast.Subscript) else None


def _may_be_norm(node: ast.expr, classes: tuple[str, ...] = _TRACKING) -> bool:
    """Whether an expression for a name may give that of one of the classes."""
    pattern = _pattern(node) if classes else ""
    return any(re.fullmatch(pattern, name, re.DOTALL) for name in classes)


def _may_name_norm(node: ast.expr) -> bool:
    """Whether a norm may be named in what an expression for a string gives."""
    constant = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return not constant or "BatchNorm" in str(node.value)  # type: ignore[attr-defined]


def _pattern(node: ast.expr) -> str:
    """A regular expression for what a string expression may give."""
    if isinstance(node, ast.Constant):
        return re.escape(str(node.value))
    if isinstance(node, ast.JoinedStr):
        return "".join(_pattern(value) for value in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _pattern(node.left) + _pattern(node.right)
    if (
        isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Mod)
        and isinstance(node.left, ast.Constant)
    ):
        return re.sub(r"%\w", ".*", re.escape(str(node.left.value)).replace(r"\%", "%"))
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "format"
        and isinstance(node.func.value, ast.Constant)
    ):
        return ".*".join(map(re.escape, re.split(r"\{[^}]*\}", str(node.func.value.value))))
    return ".*"


def _open_literal(module: str, name: ast.expr) -> Open:
    written = ast.literal_eval(name)
    package = "torch.nn" if module in _MODULES else module
    short = package.rpartition(".")[2]
    return Open(
        f"{package}.{written} is looked up by its name",
        f"write {short}.{written}, which can be rewritten",
    )


def _open_computed(module: str, _: ast.expr) -> Open:
    package = "torch.nn" if module in _MODULES else module
    return Open(
        f"a name computed at run time is looked up in {package}: it may be a batch norm", _LOOK_UP
    )


def _open_namespace(place: str) -> Open:
    return Open(
        f"{place} may be a batch norm that was imported under that name", "write the name itself"
    )


def _open_getter(call: str) -> Open:
    return Open(f"{call} takes a batch norm from whatever module it is given", _LOOK_UP)


def _open_path(path: str) -> Open:
    return Open(
        f"{path} is named by a string, which something may import and build",
        "pass track_running_stats=False beside the name, as that something takes arguments",
    )


def _open_eval() -> Open:
    return Open("eval of a string may build a batch norm", _LOOK_UP)
