"""Several whole models that one function makes, run side by side as one module."""

from __future__ import annotations

from typing import Any

from torch import nn

from bncodemod.verify.harvest import Harvest
from bncodemod.verify.inputs import Inputs, dtype_of, search
from bncodemod.verify.refusal import Refusal
from bncodemod.verify.specs import Feed


class Together(nn.ModuleList):
    """Runs each of its models on inputs of its own: ``(args, kwargs)``."""

    def forward(self, *feeds: tuple[tuple[Any, ...], dict[str, Any]]) -> tuple[Any, ...]:
        return tuple(
            model(*args, **kwargs) for model, (args, kwargs) in zip(self, feeds, strict=True)
        )


def inputs_of_all(models: Together, name: str, harvest: Harvest) -> Inputs | Refusal:
    """Inputs for every one of the models; if one cannot be fed, why."""
    found: list[Inputs] = []
    for model in models:
        inputs = search(model, harvest.feeds(model), name, harvest)
        if isinstance(inputs, Refusal):
            return inputs
        found.append(inputs)
    feed = Feed(tuple((each.feed.positional, each.feed.keywords) for each in found), {})
    text = "; ".join(each.text for each in found)
    multiple = max((each.multiple for each in found), default=1)
    return Inputs(text, feed, multiple, dtype=dtype_of(models))
