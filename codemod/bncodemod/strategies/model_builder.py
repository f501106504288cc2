"""A call that has another library build a model: what can be done about the norms in it."""

from __future__ import annotations

import ast

from bncodemod.catalog.torch import NormClass
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Open, Rewrite

PATCH = (
    "build the model (and load its weights), then call"
    " torch.func.replace_all_batch_norm_modules_(model)"
)


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
    return Rewrite((edit,), f"{name} gets its norms from {factory}")


def loads_weights(name: str) -> Open:
    """What is said of a builder that may load pretrained weights, which it does strictly."""
    return Open(
        f"{name} may load pretrained weights here, strictly: a rewritten model would not take them",
        PATCH,
    )
