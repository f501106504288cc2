"""Inputs for several whole models that one function makes."""

from __future__ import annotations

from bncodemod.verify.answers import Together
from bncodemod.verify.harvest import Harvest
from bncodemod.verify.inputs import Inputs, dtype_of, search
from bncodemod.verify.refusal import Refusal
from bncodemod.verify.specs import Feed


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
