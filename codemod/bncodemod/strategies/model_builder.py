"""A call that has another library build a model: what can be done about the norms in it."""

from __future__ import annotations

import ast
import re

from bncodemod.catalog.torch import NormClass
from bncodemod.scan.flow import trace
from bncodemod.scan.index import Exit, ExitKind
from bncodemod.scan.libraries import has_mapping, is_off
from bncodemod.scan.scopes import Function
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import BuiltModel, Open, Rewrite
from bncodemod.strategies.own_models import calls_of_class

PATCH = (
    "build the model (and load its weights), then call"
    " torch.func.replace_all_batch_norm_modules_(model)"
)


_WEIGHTS = re.compile(r"weights|pretrained|checkpoint", re.IGNORECASE)
_GIVE_BUILDERS = ("functools.partial", "builtins.getattr", "builtins.vars")


def with_norm_layer(
    context: Context,
    call: ast.Call,
    name: str,
    norm: NormClass,
    *,
    parameter: str,
    given: ast.expr | None,
    eps: float | None,
    momentum: float | None,
) -> Rewrite:
    """Hand the builder ``name`` a factory of safe norms, in the place of what is ``given``.

    ``eps`` and ``momentum`` are the builder's own where they are not batch norm's: a factory from
    outside has to repeat them.
    """
    own = {"eps": eps, "momentum": momentum}
    settings = {key: value for key, value in own.items() if value is not None}
    factory = context.strategy.factory(context, call, norm, **settings)
    if given is None:
        edit = context.append(call, parameter, factory)
    else:
        edit = context.replace(given, factory)
    message = f"{name} gets its norms from {factory}"
    return Rewrite((edit,), message, model=model_of(context, call, weights=False))


def loads_weights(context: Context, call: ast.Call, name: str) -> Open:
    """What is said of a builder that may load pretrained weights, which it does strictly."""
    message = (
        f"{name} may load pretrained weights here, strictly: a rewritten model would not take them"
    )
    return built(context, call, message, weights=True)


def built(
    context: Context,
    place: ast.AST,
    message: str,
    *,
    weights: bool,
    is_module: bool = True,
    remedy: str = PATCH,
) -> Open:
    """What is said of a place that has another library build a model, or that names its builder."""
    return Open(message, remedy, model_of(context, place, weights=weights, is_module=is_module))


def model_of(
    context: Context, place: ast.AST, *, weights: bool, is_module: bool = True
) -> BuiltModel | None:
    """The model that a call of a builder gives, or the calls of a builder that is handed around.

    None where not all of these calls are seen.
    """
    if isinstance(place, ast.Call) and not _is_builder(context, place):
        return BuiltModel((place,), weights, is_module)
    if not isinstance(place, ast.expr):
        return None
    flow = trace(context.names, place)
    unseen = (flow.escapes, flow.demands, flow.lost, flow.called_elsewhere)
    if not flow.calls or any(unseen) or not all(_stays(context, way) for way in flow.exits):
        return None
    # What the calls say of weights is not known to the rule that found the builder.
    return BuiltModel(tuple(flow.calls), True, is_module)


def of_base(context: Context, base: ast.AST) -> BuiltModel | None:
    """The model that a class of the file is which derives from one of a library.

    It is built by ``super().__init__(…)``, or where the class is called if that is not written out.
    """
    definition = context.tree.parents.get(base)
    if not isinstance(definition, ast.ClassDef):
        return None
    inits = [s for s in definition.body if isinstance(s, Function) and s.name == "__init__"]
    if not inits:
        return calls_of_class(context, definition)
    context.tree.expand(inits[0])
    calls = [
        node.value
        for node in context.tree.walk_below(inits[0])
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Attribute)
        and node.value.func.attr == "__init__"
    ]
    return BuiltModel(tuple(calls), weights=False) if len(calls) == 1 else None


def _stays(context: Context, way: Exit) -> bool:
    """Whether a name of the module, to which a builder is bound, is used by no other file."""
    return way.kind is ExitKind.VARIABLE and way.name not in context.names.index.uses.named


def may_load_weights(call: ast.Call) -> bool:
    """Whether the arguments of a builder's call may ask for weights, or hide that they do."""
    asked = (k.value for k in call.keywords if k.arg and _WEIGHTS.search(k.arg))
    return bool(call.args) or has_mapping(call) or not all(is_off(value) for value in asked)


def asks_for_weights(place: ast.expr) -> bool:
    """Whether the arguments of a class's call may ask for weights: by keyword, or by their name."""
    if not isinstance(place, ast.Call):
        return True
    by_name = any(isinstance(a, ast.Constant) and isinstance(a.value, str) for a in place.args)
    return by_name or may_load_weights(ast.Call(place.func, [], place.keywords))


def _is_builder(context: Context, call: ast.Call) -> bool:
    """Whether a call gives a builder and no model: ``partial(f)``, ``getattr(models, name)``."""
    callee = context.names.qualified(call.func)
    return callee in _GIVE_BUILDERS or callee.endswith(".get_model_builder")
