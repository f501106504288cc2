"""Builders that are looked up in a module by their names: getattr, ``__dict__``, get_model."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import partial

from bncodemod.catalog import model_zoos, named_models, torchvision
from bncodemod.catalog.libraries import TORCHVISION_LOOK_UPS
from bncodemod.rules.rule import Match
from bncodemod.scan.libraries import argument, mentions_library, references
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Open
from bncodemod.strategies.model_builder import PATCH, built, may_load_weights

_GET = "torchvision.models.get_model"
_CHECKPOINT = "pretrained_model_name_or_path"


def look_ups(context: Context) -> Iterator[Match]:
    """Look-ups of torchvision's, timm's and pretrainedmodels' builders by their names."""
    for library, (package, builds) in _LIBRARIES.items():
        if not mentions_library(context.names, library) or context.names.index.is_own(library):
            continue
        exported = (_GET,) if library == "torchvision" else ()
        for node, qualified in references(context.names, (package,), exported):
            if qualified.startswith(package):
                place = _looked_up(context, node, qualified, builds)
                if place is not None and not _is_tested(context, place):
                    yield Match(place, partial(_open_look_up, context, place, qualified))


def _of_torchvision(module: str, name: str) -> bool:
    return torchvision.lookup(f"{module}.{name}") is not None


def _of_timm(_: str, name: str) -> bool:
    model = named_models.lookup("timm", name)
    return model is not None and model.effect != "no norms"


def _of_zoo(module: str, name: str) -> bool:
    return model_zoos.lookup(f"{module}.{name}") is not None


# The modules in which builders stand, and whether one is by its module and name.
_LIBRARIES: dict[str, tuple[str, Callable[[str, str], bool]]] = {
    "pretrainedmodels": ("pretrainedmodels", _of_zoo),
    "timm": ("timm.models", _of_timm),
    "torchvision": ("torchvision.models", _of_torchvision),
}


def _is_tested(context: Context, place: ast.expr) -> bool:
    """Whether it is only asked of what is looked up if it can be called."""
    above = context.tree.parents.get(place)
    return (
        isinstance(above, ast.Call) and context.names.qualified(above.func) == "builtins.callable"
    )


def _open_look_up(context: Context, place: ast.expr, qualified: str) -> Open:
    """A name that is written out can be called by itself; another is known only at run time."""
    module = qualified.removesuffix(".__dict__")
    name = _name_looked_up(place)
    if name is not None and torchvision.lookup(f"{module}.{name}"):
        message = f"torchvision's {name} is looked up by its name"
        remedy = f"write {module.rpartition('.')[2]}.{name}, which can be rewritten"
    else:
        library = module.partition(".")[0]
        message = f"this builds a {library} model that is only known at run time"
        if name is not None:
            message = f"{library}'s {name}, looked up by its name, may build batch norm"
        remedy = PATCH
    call = _called(context, place)
    weights = (
        qualified in TORCHVISION_LOOK_UPS
        or not isinstance(call, ast.Call)
        or may_load_weights(call)
    )
    return built(context, call, message, weights=weights, remedy=remedy)


def _called(context: Context, place: ast.expr) -> ast.expr:
    """The call of the builder that is looked up, or the look-up if it is not called there."""
    builder = place
    above = context.tree.parent(builder)
    while isinstance(above, ast.Subscript) and above.value is builder:  # vars(models)[name]
        builder, above = above, context.tree.parent(above)
    return above if isinstance(above, ast.Call) and above.func is builder else builder


def _name_looked_up(place: ast.expr) -> str | None:
    """The literal in ``models.__dict__["resnet18"]`` or ``getattr(models, "resnet18")``."""
    if isinstance(place, ast.Subscript):
        return literal(place.slice)
    return literal(place.args[1]) if isinstance(place, ast.Call) and place.args[1:] else None


def _looked_up(
    context: Context, node: ast.expr, qualified: str, builds: Callable[[str, str], bool]
) -> ast.expr | None:
    """The expression that picks a builder by name: get_model, getattr, ``__dict__``."""
    above = context.tree.parent(node)
    module = qualified.removesuffix(".__dict__")
    if isinstance(above, ast.Call):
        if node is above.func and qualified in TORCHVISION_LOOK_UPS and above.args:
            # A literal is known to the rule for torchvision's builders, or builds no batch norm.
            name = literal(above.args[0])
            is_built = name is not None and torchvision.lookup_registered(name) is not None
            gives_builder = qualified.endswith("_builder")
            return above if name is None or (is_built and gives_builder) else None
        getter = context.names.qualified(above.func)
        if getter == "builtins.getattr" and above.args[0] is node and len(above.args) > 1:
            name = literal(above.args[1])
            return above if name is None or builds(module, name) else None
        if getter == "builtins.vars":
            return above
    if qualified.endswith(".__dict__") and isinstance(above, ast.Subscript):
        name = literal(above.slice)
        return above if name is None or builds(module, name) else None
    if isinstance(node, ast.Call) and model_zoos.lookup(qualified):
        return node  # a getattr of a literal
    return None


def asked_for(call: ast.Call) -> ast.expr | None:
    """What says which model a builder is asked for: it comes first, in transformers by keyword."""
    return call.args[0] if call.args else argument(call, _CHECKPOINT, None)


def literal(node: ast.expr | None) -> str | None:
    """The value of a string literal; None for anything else."""
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, str) else None
