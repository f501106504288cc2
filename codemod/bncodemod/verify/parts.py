"""The parts of a module that cannot be fed as a whole, as a detector that needs targets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from bncodemod.verify.build import Constructed
from bncodemod.verify.harvest import Harvest
from bncodemod.verify.inputs import Inputs, search
from bncodemod.verify.recorder import norms_in
from bncodemod.verify.refusal import Refusal
from bncodemod.verify.specs import Feed

_DEEPEST = 4
_MOST_SECONDS = 15.0


class Parts(nn.Module):
    """Runs some parts of a module, each on inputs of its own: ``(args, kwargs)``."""

    def __init__(self, whole: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(whole.get_submodule(name) for name in names)

    def forward(self, *feeds: tuple[tuple[Any, ...], dict[str, Any]]) -> tuple[Any, ...]:
        return tuple(
            part(*args, **kwargs) for part, (args, kwargs) in zip(self.parts, feeds, strict=True)
        )


def in_parts(constructed: Constructed, harvest: Harvest) -> tuple[Constructed, Inputs] | None:
    """The outermost parts that hold norms and can be fed, as one module with its inputs."""
    end = time.process_time() + _MOST_SECONDS
    found = dict(_fed(constructed.module, "", harvest, end, _DEEPEST))
    if not found:
        return None
    names = tuple(found)
    whole = constructed.rebuild

    def rebuild(device: torch.device, other: Callable[..., Any] | None = None) -> nn.Module:
        return Parts(whole(device, other), names)

    parts = replace(
        constructed,
        module=Parts(constructed.module, names),
        call=f"{constructed.call}, its {', '.join(names)}",
        rebuild=rebuild,
    )
    feed = Feed(tuple((each.feed.positional, each.feed.keywords) for each in found.values()), {})
    text = "; ".join(f"{name}: {each.text}" for name, each in found.items())
    return parts, Inputs(text, feed)


def _fed(
    module: nn.Module, prefix: str, harvest: Harvest, end: float, depth: int
) -> Iterator[tuple[str, Inputs]]:
    """The parts below ``module`` with their inputs; parts of those that cannot be fed."""
    for name, child in module.named_children():
        if time.process_time() > end or not any(norms_in(child)):
            continue
        inputs = search(child, harvest.feeds(child), name, harvest)
        if not isinstance(inputs, Refusal):
            yield prefix + name, inputs
        elif depth:
            yield from _fed(child, f"{prefix}{name}.", harvest, end, depth - 1)
