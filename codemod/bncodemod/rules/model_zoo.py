"""A builder of another library, or one whose name is only known at run time, builds the model.

timm, segmentation_models_pytorch, torch.hub and others bring their own batch norms, and no argument
at this line can change that.

Before:
    model = timm.create_model("resnet50")

By hand: once the model is built (and its weights loaded), call
``torch.func.replace_all_batch_norm_modules_(model)``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache, partial

from bncodemod.catalog import model_zoos, torchvision
from bncodemod.rules.rule import Match, Rule
from bncodemod.rules.torchvision_builder import PATCH
from bncodemod.scan.libraries import references, uses_of
from bncodemod.scan.mentions import Role, role
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Open

rule = Rule("BN107", "model zoo")

_BY_NAME = ("torchvision.models.get_model", "torchvision.models.get_model_builder")


@rule.finds
def zoo_builders(context: Context) -> Iterator[Match]:
    """Every call of a foreign builder, and every look-up of a torchvision builder by its name."""
    text = context.tree.source.text
    wanted = [name for root, names in _by_root().items() if root in text for name in names]
    for node, qualified in uses_of(context.names, wanted):
        zoo = model_zoos.lookup(qualified)
        use = role(context.names, node)
        if zoo is not None and use in (Role.CALL, Role.PARTIAL, Role.VALUE):
            call = context.tree.parent(node) if use is Role.CALL else node
            verb = "builds" if zoo.certain else "may build"
            yield Match(
                call, partial(Open, f"{qualified} {verb} models with batch norm", zoo.remedy)
            )
    if "timm" in text:
        for node, qualified in references(context.names, ("timm.models",), ()):
            call = context.tree.parent(node)
            if _is_timm_builder(qualified) and role(context.names, node) is Role.CALL:
                message = f"{qualified} may build a model with batch norm"
                yield Match(call, partial(Open, message, PATCH))
    if "torchvision" not in text:
        return
    for node, qualified in references(
        context.names, ("torchvision.models",), ("torchvision.models.get_model",)
    ):
        if qualified.startswith("torchvision.models"):
            place = _looked_up(context, node, qualified)
            if place is not None:
                message = "this builds a torchvision model that is only known at run time"
                yield Match(place, partial(Open, message, PATCH))


@cache
def _by_root() -> dict[str, list[str]]:
    """The builders of the catalog by the text that must stand in a file that uses them."""
    found: dict[str, list[str]] = {}
    for zoo in model_zoos.builders():
        root = "hub" if zoo.name.startswith("torch.hub.") else zoo.name.partition(".")[0]
        found.setdefault(root, []).append(zoo.name)
    return found


def _is_timm_builder(qualified: str) -> bool:
    """Whether a name is one of the models that timm registers: nearly all have a number in it."""
    package, _, name = qualified.rpartition(".")
    numbered = name.islower() and any(character.isdigit() for character in name)
    return package.startswith("timm.models") and "._" not in package and numbered


def _looked_up(context: Context, node: ast.expr, qualified: str) -> ast.expr | None:
    """The expression that picks a builder by name: get_model, getattr, ``__dict__``."""
    above = context.tree.parent(node)
    if isinstance(above, ast.Call):
        if node is above.func and qualified in _BY_NAME and above.args:
            # A literal is known to the rule for torchvision's builders, or builds no batch norm.
            name = _literal(above.args[0])
            builds = name is not None and torchvision.lookup_registered(name) is not None
            gives_builder = qualified.endswith("_builder")
            return above if name is None or (builds and gives_builder) else None
        getter = context.names.qualified(above.func)
        if getter == "builtins.getattr" and above.args[0] is node and len(above.args) > 1:
            name = _literal(above.args[1])
            known = name is not None and torchvision.lookup(f"{qualified}.{name}") is None
            return None if known else above
        if getter == "builtins.vars":
            return above
    if qualified.endswith(".__dict__") and isinstance(above, ast.Subscript):
        return above
    return None


def _literal(node: ast.expr) -> str | None:
    """The value of a string literal."""
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, str) else None
