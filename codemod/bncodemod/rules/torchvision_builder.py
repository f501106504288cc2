"""A builder, model or block of torchvision is called and builds its batch norms.

Which of them take ``norm_layer=``, which swallow it without any effect and which refuse it was
measured on torchvision itself and is kept in the catalog; so are the eps and momentum that a
builder gives its norms, which a bare ``norm_layer`` from outside would lose.

Before:
    model = models.resnet18()
After (no-running-stats):
    model = models.resnet18(norm_layer=partial(nn.BatchNorm2d, track_running_stats=False))
After (group-norm):
    model = models.resnet18(norm_layer=make_group_norm)
After (runtime-patch):
    model = models.resnet18()
    replace_all_batch_norm_modules_(model)

Under runtime-patch, a class on top of a model is patched behind its ``super().__init__(…)``:

Before:
    class Net(models.DenseNet):
        def __init__(self):
            super().__init__(num_classes=3)
After (runtime-patch):
    class Net(models.DenseNet):
        def __init__(self):
            super().__init__(num_classes=3)
            replace_all_batch_norm_modules_(self)

Open where ``norm_layer`` cannot work or pretrained weights are asked for: they are loaded strictly,
and a model without running statistics has no place for theirs. ``--third-party patch`` patches such
a model once it is built and loaded.

By hand: build the model (and load its weights), then call
``torch.func.replace_all_batch_norm_modules_(model)``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial

from bncodemod.catalog import torchvision
from bncodemod.catalog.torch import norm_class
from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.libraries import argument, has_mapping, is_off, mentions_library, references
from bncodemod.scan.literals import is_none
from bncodemod.scan.mentions import Role, role
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Decision, Open, Safe
from bncodemod.strategies.model_builder import PATCH, built, loads_weights, of_base, with_norm_layer

rule = Rule("BN106", "torchvision builder")

PACKAGES = ("torchvision.models", "torchvision.ops")


@rule.finds
def torchvision_builders(context: Context) -> Iterator[Match]:
    """Every use of a callable of torchvision that builds batch norm."""
    for node, builder, skip in builder_uses(context):
        if isinstance(node, ast.Call):
            if builds_norm(node, builder, skip):
                yield Match(node, partial(_decide, context, node, builder, skip))
        else:
            yield Match(node, partial(_open_value, context, node, builder))


def builder_uses(context: Context) -> Iterator[tuple[ast.expr, torchvision.Builder, int]]:
    """Calls of builders, with how many leading arguments are not the builder's; other mentions.

    Where a model of torchvision is built or derived from, the blocks that are handed around beside
    it are its business.
    """
    if not mentions_library(context.names, "torchvision"):
        return
    uses = list(_all_uses(context))
    has_model = any(
        builder.kind == "class" and (isinstance(node, ast.Call) or _is_base(context, node))
        for node, builder, _ in uses
    )
    for node, builder, skip in uses:
        is_handed = builder.kind == "block" and not isinstance(node, ast.Call)
        if not (has_model and is_handed and not _is_base(context, node)):
            yield node, builder, skip


def _is_base(context: Context, node: ast.expr) -> bool:
    return role(context.names, node) is Role.BASE


def _all_uses(context: Context) -> Iterator[tuple[ast.expr, torchvision.Builder, int]]:
    for node, qualified in references(context.names, PACKAGES, torchvision.names()):
        above = context.tree.parent(node)
        use = role(context.names, node)
        if qualified == "torchvision.models.get_model" and isinstance(above, ast.Call):
            registered = _registered(above)
            if use is Role.CALL and registered is not None:
                yield above, registered, 1
            continue
        builder = torchvision.lookup(qualified)
        if builder is None:
            continue
        if isinstance(above, ast.Call) and use in (Role.CALL, Role.PARTIAL):
            yield above, builder, 0 if use is Role.CALL else 1
        elif use is Role.BASE or (use is Role.VALUE and not _is_block_argument(context, node)):
            yield node, builder, 0


def builds_norm(call: ast.Call, builder: torchvision.Builder, skip: int) -> bool:
    """Whether a call builds batch norm by the builder's own choice."""
    if builder.needs is not None:
        given = argument(call, builder.needs, None, skip)
        return given is not None and not is_off(given)
    given = argument(call, builder.parameter, builder.position, skip)
    return given is None or (is_none(given) and builder.none_builds_norm)


def _decide(context: Context, call: ast.Call, builder: torchvision.Builder, skip: int) -> Decision:
    name = builder.name.rpartition(".")[2]
    if _asks_for_weights(call, builder, skip):
        if builder.frozen_when_pretrained:
            return Safe(f"{name} builds FrozenBatchNorm2d when it loads weights")
        return loads_weights(context, call, name)
    if has_mapping(call):
        hidden = f"{name} builds batch norm, and ** may hide norm_layer or weights"
        return built(context, call, hidden, weights=True)
    norm = norm_class(builder.norm)
    works = builder.norm_layer == "works" or (
        builder.norm_layer == "group-norm-only" and not context.keeps_batch_norm
    )
    if not works or norm is None or builder.parameter is None:
        message = f"{name} builds batch norm and {_obstacle(builder)}"
        return built(context, call, message, weights=False)
    return with_norm_layer(
        context,
        call,
        name,
        norm,
        parameter=builder.parameter,
        given=argument(call, builder.parameter, builder.position, skip),
        eps=builder.eps,
        momentum=builder.momentum,
    )


def _obstacle(builder: torchvision.Builder) -> str:
    return {
        "swallowed": "swallows norm_layer without any effect",
        "twice": "passes a norm_layer of its own, so that another is a TypeError",
        "unknown": "takes no norm_layer",
        "group-norm-only": "runs the model in its constructor, where batch norm without running"
        " statistics raises",
    }.get(builder.norm_layer, "takes none by keyword")


def _open_value(context: Context, node: ast.expr, builder: torchvision.Builder) -> Open:
    name = builder.name.rpartition(".")[2]
    if _is_base(context, node):
        message = f"{name}, the base of a class, builds batch norm"
        return Open(message, PATCH, of_base(context, node))
    message = f"{name} builds batch norm and is used here as a value"
    return built(context, node, message, weights=True)


def _asks_for_weights(call: ast.Call, builder: torchvision.Builder, skip: int) -> bool:
    named = [argument(call, name, None, skip) for name in builder.weights]
    placed = [argument(call, None, position, skip) for position in builder.weights_positions]
    given = [value for value in (*named, *placed) if value is not None]
    if not given:
        return builder.pretrained_by_default
    return not all(is_off(value) for value in given)


def _registered(call: ast.Call) -> torchvision.Builder | None:
    name = call.args[0] if call.args else None
    if isinstance(name, ast.Constant) and isinstance(name.value, str):
        return torchvision.lookup_registered(name.value)
    return None


def _is_block_argument(context: Context, node: ast.expr) -> bool:
    """Whether a block such as BasicBlock goes to a model, which hands it its own norm_layer."""
    above = context.tree.parent(node)
    return isinstance(above, ast.Call) and any(
        torchvision.lookup(meaning.qualified) for meaning in context.names.meanings(above.func)
    )
