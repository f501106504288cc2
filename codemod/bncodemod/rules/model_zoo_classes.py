"""Classes of other libraries that build batch norm: where they are called, handed on, derived from.

A block that is handed to a call of its own library is that call's business. Where ``norm_layer=``
says which norms are built, what it says is a site of its own.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial

from bncodemod.catalog import model_zoos, module_classes, torchvision
from bncodemod.rules.rule import Match
from bncodemod.scan.libraries import argument, has_mapping, is_off, mentions_library, references
from bncodemod.scan.mentions import Role, role
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Open
from bncodemod.strategies.model_builder import PATCH, asks_for_weights, built, of_base

_PARAMETER = "norm_layer"
_PRETRAINED = ".from_pretrained"


def class_uses(context: Context) -> Iterator[Match]:
    """Every use of such a class that may build one, of those that no other rule speaks of."""
    for library in module_classes.libraries():
        if not mentions_library(context.names, library) or context.names.index.is_own(library):
            continue
        known = module_classes.names(library)
        for node, qualified in references(context.names, (library,), known):
            if module_classes.lookup(qualified) and not _is_spoken_of(qualified):
                yield from _use(context, node, qualified)


def _is_spoken_of(qualified: str) -> bool:
    return bool(model_zoos.lookup(qualified) or torchvision.lookup(qualified))


def _use(context: Context, node: ast.expr, qualified: str) -> Iterator[Match]:
    use, above = role(context.names, node), context.tree.parent(node)
    if use is Role.BASE:
        # A class on top of timm's models is said by its package, which older releases have as well.
        if not qualified.startswith("timm.models.") and isinstance(above, ast.ClassDef):
            yield Match(node, partial(open_base, context, node, above.name, qualified))
    elif use in (Role.CALL, Role.PARTIAL):
        assert isinstance(above, ast.Call)
        if not _is_told_norm(above):
            place = above if use is Role.CALL else node
            yield Match(place, partial(_open_call, context, place, qualified))
    elif use is Role.VALUE and not _is_handed_to_library(context, node, qualified):
        yield Match(node, partial(_open_call, context, node, qualified))


def open_base(context: Context, base: ast.expr, name: str, qualified: str) -> Open:
    """What is said of a class of the file that derives from one of a library."""
    message = f"class {name} derives from {qualified}, which may build batch norm"
    return Open(message, PATCH, of_base(context, base))


def _open_call(context: Context, place: ast.expr, qualified: str) -> Open:
    weights = qualified.endswith(_PRETRAINED) or asks_for_weights(place)
    # What else is asked for than the model comes with it, as a pair.
    extra = argument(place, "output_loading_info", None) if isinstance(place, ast.Call) else None
    is_module = extra is None or is_off(extra)
    message = f"{qualified} may build batch norm"
    return built(context, place, message, weights=weights, is_module=is_module)


def _is_told_norm(call: ast.Call) -> bool:
    given = argument(call, _PARAMETER, None)
    return given is not None and not is_off(given) and not has_mapping(call)


def _is_handed_to_library(context: Context, node: ast.expr, qualified: str) -> bool:
    """Whether it is an argument of a callable of its library, or of a class on top of one."""
    root = qualified.partition(".")[0]
    above = context.tree.parent(node)
    if isinstance(above, ast.keyword):
        above = context.tree.parent(above)
    return isinstance(above, ast.Call) and any(
        meaning.qualified.partition(".")[0] == root
        for function in (above.func, *_bases(context, above.func))
        for meaning in context.names.meanings(function)
    )


def _bases(context: Context, function: ast.expr) -> Iterator[ast.expr]:
    for meaning in context.names.meanings(function):
        if isinstance(meaning.definition, ast.ClassDef):
            yield from meaning.definition.bases
