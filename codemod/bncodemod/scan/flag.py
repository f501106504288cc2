"""Where a file spells ``track_running_stats``, and with what value."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from bncodemod.catalog.torch import FLAG, FLAG_POSITION
from bncodemod.scan.index import Exit, ExitKind
from bncodemod.scan.names import Names
from bncodemod.scan.parameters import is_super_init
from bncodemod.scan.scopes import BindingKind, Function


def may_be_on(names: Names, value: ast.expr) -> bool:
    """Whether a value for the flag is not known to switch it off."""
    if isinstance(value, ast.Constant):
        return bool(value.value)
    if not isinstance(value, ast.Name):
        return True
    bindings = names.scopes.reaching(value)
    return not bindings or any(
        b.kind is not BindingKind.VALUE or not isinstance(b.value, ast.Constant) or b.value.value
        for b in bindings
    )


def calls_with_flag(names: Names) -> Iterator[tuple[ast.Call, ast.expr]]:
    """The calls that say the flag by keyword, and what they say."""
    if FLAG in names.tree.source.text:
        for node in names.tree.occurrences(FLAG):
            call = names.tree.parents.get(node)
            if isinstance(node, ast.keyword) and isinstance(call, ast.Call):
                yield call, node.value


def callees(names: Names, call: ast.Call) -> list[ast.expr]:
    """The expressions that name what takes a call's keywords."""
    func = call.func
    if names.qualified(func) == "functools.partial" and call.args:
        return call.args[:1]
    if is_super_init(func):
        for above in names.tree.ancestors(func):
            if isinstance(above, ast.ClassDef):
                return above.bases
    return [func]


def handed_to(qualified: str) -> Exit:
    """The way by which the flag reaches a callable of another file."""
    return Exit(ExitKind.ARGUMENT, qualified, None, FLAG)


def exits_of_flag(names: Names) -> tuple[Exit, ...]:
    """The ways on which the flag leaves a file, not known to be off, for callables of others."""
    found = {
        names.qualified(callee): None
        for call, value in calls_with_flag(names)
        if may_be_on(names, value)
        for callee in callees(names, call)
    }
    return tuple(handed_to(q) for q in found if q and not q.startswith(("builtins.", "torch.")))


def fills_up_to_flag(names: Names, use: ast.AST) -> bool:
    """Whether a class is built with so many positional arguments that one of them is the flag.

    By a call, or by ``super().__init__`` of a class that derives from it.
    """
    above = names.tree.parents.get(use)
    if isinstance(above, ast.ClassDef) and use in above.bases:
        names.tree.expand(above)
        return any(
            isinstance(node, ast.Call)
            and is_super_init(node.func)
            and len(node.args) > FLAG_POSITION
            for node in ast.walk(above)
        )
    return isinstance(above, ast.Call) and use is above.func and len(above.args) > FLAG_POSITION


def sees_to_flag(names: Names, definition: ast.AST | None) -> bool:
    """Whether it shows inside a function or class what becomes of the flag that a call hands it.

    It has a parameter of that name, or hands its ``**`` to nothing but norms.
    """
    if isinstance(definition, ast.ClassDef):
        names.tree.expand(definition)
        inits = [s for s in definition.body if isinstance(s, Function) and s.name == "__init__"]
        if not inits:
            return any(_base_sees_to_flag(names, base) for base in definition.bases)
        definition = inits[-1]
    if not isinstance(definition, (ast.Lambda, *Function)):
        return False
    arguments = definition.args
    if any(argument.arg == FLAG for argument in (*arguments.args, *arguments.kwonlyargs)):
        return True
    if arguments.kwarg is None:
        return False
    uses = [
        use
        for use in names.tree.occurrences(arguments.kwarg.arg, definition)
        if isinstance(use, ast.Name)
        and any(b.node is arguments.kwarg for b in names.scopes.reaching(use) or ())
    ]
    return bool(uses) and all(_goes_to_norm(names, use) for use in uses)


def _base_sees_to_flag(names: Names, base: ast.expr) -> bool:
    """Whether a base is a norm, which stays one only if that is reported, or sees to it itself."""
    return bool(names.norms(base)) or any(
        meaning.definition is not None and sees_to_flag(names, meaning.definition)
        for meaning in names.meanings(base)
    )


def _goes_to_norm(names: Names, mapping: ast.Name) -> bool:
    """Whether ``**mapping`` is an argument of a norm's constructor."""
    keyword = names.tree.parents.get(spread(names, mapping))
    call = names.tree.parents.get(keyword) if keyword is not None else None
    return (
        isinstance(keyword, ast.keyword)
        and isinstance(call, ast.Call)
        and bool(names.norm(call.func))
    )


def spread(names: Names, mapping: ast.expr) -> ast.expr:
    """The mapping, or the one around it that takes all its entries: ``{**mapping, …}``."""
    above = names.tree.parents.get(mapping)
    while isinstance(above, ast.Dict) and mapping in above.values:
        if above.keys[above.values.index(mapping)] is not None:
            break
        mapping, above = above, names.tree.parents.get(above)
    return mapping
