"""The parts of a model that does not run as a whole, on what the model was seen to give them.

A detector wants its targets in train mode, and a sampler fails under vmap or on meta after its
backbone has run. What such a model calls on the way shows which parts it has and what they are fed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from bncodemod.verify.build import Constructed
from bncodemod.verify.guess import Guesses
from bncodemod.verify.harvest import Harvest
from bncodemod.verify.inputs import Inputs, among, dtype_of, roomier
from bncodemod.verify.meta import Rooms, asks_for_values, device_of, quick_kernels
from bncodemod.verify.recorder import norms_in
from bncodemod.verify.refusal import Refusal
from bncodemod.verify.specs import Feed, describe
from bncodemod.verify.traceless import Traceless

_BATCH = 5  # a number that seldom divides other sizes
_MOST_CALLS = 4  # with different inputs, of one part


Wanted = Callable[[nn.Module], bool]


def in_parts(
    constructed: Constructed, wanted: Wanted, name: str, harvest: Harvest
) -> tuple[Constructed, Inputs, tuple[str, ...]] | Refusal:
    """The model, running nothing but its outermost ``wanted`` parts, with their inputs and names.

    They are those that it was seen to call, and that run on that in train mode.
    """
    seen = _calls(constructed.module)
    found = list(_running(constructed.module, "", seen, wanted, harvest))
    if not found:
        return Refusal(f"{name} was not seen to call a part with a norm of the line that runs")
    names = tuple(name for name, _ in found)
    whole = constructed.rebuild

    def rebuild(device: torch.device, other: Callable[..., Any] | None = None) -> nn.Module:
        return _limited(whole(device, other), names)

    feed = Feed(tuple((each.feed.positional, each.feed.keywords) for _, each in found), {})
    text = "; ".join(f"{name}: {each.text}" for name, each in found)
    multiple, dtype = max(each.multiple for _, each in found), dtype_of(constructed.module)
    inputs = Inputs(text, feed, multiple, dtype=dtype)
    limited = replace(
        constructed, module=_limited(constructed.module, names), rebuild=rebuild, feeds=()
    )
    return limited, inputs, tuple(dict.fromkeys(names))


def _limited(whole: nn.Module, names: tuple[str, ...]) -> nn.Module:
    """``whole`` with a forward that gives each of the named parts its own ``(args, kwargs)``."""

    def forward(self: nn.Module, *feeds: tuple[tuple[Any, ...], dict[str, Any]]) -> tuple[Any, ...]:
        parts = map(self.get_submodule, names)
        return tuple(
            part(*args, **kwargs) for part, (args, kwargs) in zip(parts, feeds, strict=True)
        )

    # A bound method: a deep copy of the model is given one of its own.
    whole.forward = MethodType(forward, whole)
    return whole


def _running(
    module: nn.Module,
    prefix: str,
    seen: dict[nn.Module, list[Feed]],
    wanted: Wanted,
    harvest: Harvest,
) -> Iterator[tuple[str, Inputs]]:
    """The parts below ``module`` with their inputs; parts of those that do not run."""
    for name, child in module.named_children():
        if not wanted(child):
            continue
        calls = [among([feed], child, name, harvest) for feed in seen.get(child, ())]
        if calls and all(isinstance(inputs, Inputs) for inputs in calls):
            yield from ((prefix + name, each) for each in calls if isinstance(each, Inputs))
        else:
            yield from _running(child, f"{prefix}{name}.", seen, wanted, harvest)


def _calls(module: nn.Module) -> dict[nn.Module, list[Feed]]:
    """What the parts of a module were fed in the calls that came to their end.

    Of the guesses at its inputs, in train and in eval mode, the one that gets furthest counts.
    """
    most: dict[nn.Module, list[Feed]] = {}
    norms = {norm for _, norm in norms_in(module)}
    for is_training in (True, False):
        guesses = Guesses(module)
        for feed in guesses:
            rooms, seen, error = _called(module.train(is_training), feed)
            if len(norms & seen.keys()) > len(norms & most.keys()):
                most = _roomier_calls(module, feed, rooms, seen)
            if error is None or norms <= most.keys() or asks_for_values(error):
                break
            guesses.mend(feed, error)
    module.train()
    return most


def _roomier_calls(
    module: nn.Module, feed: Feed, rooms: Rooms, seen: dict[nn.Module, list[Feed]]
) -> dict[nn.Module, list[Feed]]:
    """What the parts are fed if the model is fed so much that no norm is left one value for it."""

    def measured(other: Feed) -> Rooms | None:
        rooms, called, _ = _called(module, other)
        return rooms if called.keys() == seen.keys() else None

    larger, _ = roomier(feed, rooms, measured)
    return seen if larger == feed else _called(module, larger)[1]


def _called(
    module: nn.Module, feed: Feed
) -> tuple[Rooms, dict[nn.Module, list[Feed]], Exception | None]:
    """The room that norms had in a run, what was called, and what this ended in."""
    rooms: Rooms = []
    seen: dict[nn.Module, list[Feed]] = {}

    def note(part: nn.Module, args: Any, kwargs: dict[str, Any], answer: Any) -> None:
        calls = seen.setdefault(part, [])
        feed = describe(args, kwargs, _BATCH)
        if len(calls) < _MOST_CALLS and str(feed) not in map(str, calls):
            calls.append(feed)

    device = device_of(module)
    args, kwargs = Inputs("", feed, dtype=dtype_of(module)).make(device, batch=_BATCH)
    hook = register_module_forward_hook(note, with_kwargs=True)
    try:
        with Traceless(module), quick_kernels() as rooms, torch.no_grad(), device:
            module(*args, **kwargs)
    except Exception as error:
        return rooms, seen, error
    finally:
        hook.remove()
    return rooms, seen, None
