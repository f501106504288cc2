"""Guesses at what a module is called with, and other guesses after each failure."""

from __future__ import annotations

import heapq
import inspect
import itertools
import math
import re
import time
import typing
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from bncodemod.verify.deduce import parameters, takes_any
from bncodemod.verify.layers import Need, needs
from bncodemod.verify.mend import keyed, mended
from bncodemod.verify.meta import CPU, META, device_of
from bncodemod.verify.shapes import halved, tensor_for, usual_sizes
from bncodemod.verify.specs import Feed, Spec
from bncodemod.verify.witness import witness

_MOST_GUESSES = 60
_MOST_SECONDS = 10.0
_MOST_NUMBERS = {META: 1 << 23, CPU: 1 << 18}  # in one input, per sample
_LONGEST = 4096  # one axis of an image or a sequence
_STATED = ("img_size", "image_size", "input_size", "input_resolution")

# Names of forward's parameters, and what stands for them: "same" as the first input.
_ROLES: tuple[tuple[str, tuple[Any, ...]], ...] = (
    (r"(t|ts|time|timesteps?|sigma|noise_level)",
     (Spec((1,), "int", 100), Spec((1,), "float"), "same")),
    (r".*mask", (None, "same", Spec((1, 16), "bool"))),
    (r"(labels?|targets?|class_?labels?|gt.*)", (Spec((1,), "int", 10), None, "same")),
    (r"(h|w|height|width|hh|ww|d|num_frames|t_len)", (8, "same")),
    (r"(hw|size|shape|spatial_shape|.*_size|.*_shape|resolution|feat_?size)", ((8, 8), "same")),
    (r"(.*_ids|ids|tokens?|text|captions?|idx|indices)", (Spec((1, 16), "int", 100), "same")),
    (r"(features|feats|feature_?maps?|xs|x_list|inputs?_?list|skips|outs|inputs|x)",
     ("same", "list")),
)  # fmt: skip


class Guesses:
    """Iterates over feeds, the likeliest first; :meth:`mend` adds what an error suggests."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._queue: list[tuple[float, int, Feed]] = []
        self._count = itertools.count()
        self._most = _MOST_NUMBERS[device_of(module)]
        self._cost: dict[str, float] = {}
        self._tried: set[str] = set()

    def add(self, feeds: Iterable[Feed], cost: float = 0.0) -> None:
        """Queue feeds, or have those that are queued come earlier."""
        for feed in feeds:
            text = str(feed)
            if cost < self._cost.get(text, math.inf) and all(map(self._is_usual, feed.specs())):
                self._cost[text] = cost
                heapq.heappush(self._queue, (cost, next(self._count), feed))

    def _is_usual(self, spec: Spec) -> bool:
        """Whether it is small enough, and not a strip that fits by its area alone."""
        return spec.count <= self._most and max(spec.shape[2:], default=0) <= _LONGEST

    def __iter__(self) -> Iterator[Feed]:
        for rank, feed in enumerate(first_guesses(self._module)):
            self.add([feed], 1.0 + rank)
        end = time.process_time() + _MOST_SECONDS
        while self._queue and len(self._tried) < _MOST_GUESSES and time.process_time() < end:
            feed = heapq.heappop(self._queue)[2]
            if str(feed) not in self._tried:
                self._tried.add(str(feed))
                yield feed

    def mend(self, feed: Feed, error: Exception) -> None:
        """Queue what ``error`` suggests in place of ``feed``."""
        cost = self._cost[str(feed)]
        others = itertools.chain(keyed(feed, error), mended(feed, str(error), witness(error)))
        for rank, other in enumerate(others):
            self.add([other], cost + 0.3 + 0.2 * rank)


def first_guesses(module: nn.Module) -> Iterator[Feed]:
    """What the signature of ``forward`` and the first layers suggest."""
    slots = _slots(module)
    tensors = list(_tensors(module, is_alone=len(slots) < 2))
    for tensor in tensors:
        yield _filled(slots, tensor, 0)
    for choice in (1, 2):
        for tensor in tensors[:2]:
            yield _filled(slots, tensor, choice)


def _slots(module: nn.Module) -> list[tuple[inspect.Parameter, tuple[Any, ...]]]:
    """The parameters that ``forward`` needs, each with the ways of filling it."""
    needed = [each for each in parameters(module.forward) if each.default is each.empty]
    if not needed:
        needed = takes_any(module.forward) or parameters(module.forward)[:1]
    return [(each, _choices(each, not place)) for place, each in enumerate(needed)]


def _choices(parameter: inspect.Parameter, is_first: bool) -> tuple[Any, ...]:
    annotation = parameter.annotation
    simple = {int: (8,), bool: (False,), float: (0.5,), str: ("",)}
    if annotation in simple:
        return simple[annotation]
    origin = typing.get_origin(annotation)
    inside = typing.get_args(annotation)
    if origin is list and torch.Tensor in inside:
        return ("list", "same")
    if origin is dict or annotation is dict:
        return ("dict",)
    if origin is tuple and inside and all(kind is int for kind in inside if kind is not Ellipsis):
        return ((8,) * max(2, len(inside)),)
    name = parameter.name.lower().rstrip("_0123456789") or parameter.name.lower()
    for pattern, choices in _ROLES:
        if re.fullmatch(pattern, name):
            return ("same", *choices) if is_first and choices[0] != "same" else choices
    return ("same", "list") if is_first else ("same",)


def _filled(
    slots: list[tuple[inspect.Parameter, tuple[Any, ...]]], tensor: Spec, choice: int
) -> Feed:
    positional: list[Any] = []
    keywords: dict[str, Any] = {}
    for parameter, choices in slots:
        value = choices[min(choice, len(choices) - 1)]
        if isinstance(value, str) and value in ("same", "list", "dict"):
            filled: dict[str, Any] = {
                "same": tensor,
                "list": [halved(tensor, n) for n in range(4)],
                "dict": {str(n): halved(tensor, n) for n in range(4)},
            }
            value = filled[value]
        if parameter.kind is parameter.KEYWORD_ONLY:
            keywords[parameter.name] = value
        else:
            positional.append(value)
    return Feed(tuple(positional), keywords)


def _tensors(module: nn.Module, is_alone: bool) -> Iterator[Spec]:
    """Tensors that the first layers suggest, in usual sizes; then all ranks.

    Where an input is not alone, the layers for maps come first: those that a model holds before
    them, as ``time_mlp``, are for the others.
    """
    wanted = list(itertools.islice(needs(module), 3)) or [Need(64, (4, 3, 2))]
    if not is_alone:
        wanted.sort(key=lambda each: max(each.ranks) < 4 or each.axis != 1)
    stated = _stated_size(module)
    first = wanted[0]
    for rank in first.ranks:
        yield tensor_for(first, rank, stated or usual_sizes(first)[0])
    for size in (usual_sizes(first) if stated else usual_sizes(first)[1:])[:4]:
        yield tensor_for(first, first.ranks[0], size)
    for other in wanted[1:]:
        yield tensor_for(other, other.ranks[0], usual_sizes(other)[0])
    if first.channels != 3:
        yield Spec((1, 3, 64, 64))
    for rank in (4, 3, 2, 5):
        if rank not in first.ranks:
            yield tensor_for(first, rank, usual_sizes(first)[0])


def _stated_size(module: nn.Module) -> int:
    """The size of images that a module says it is made for; 0 if it does not."""
    for part in itertools.islice(module.modules(), 8):
        for name in _STATED:
            value = getattr(part, name, None)
            value = value[-1] if isinstance(value, (tuple, list)) and value else value
            if type(value) is int and value > 1:
                return value
    return 0
