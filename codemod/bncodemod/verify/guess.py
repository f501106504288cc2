"""Guesses at what a module is called with, and other guesses after each failure."""

from __future__ import annotations

import heapq
import inspect
import itertools
import re
import time
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from bncodemod.verify.deduce import parameters
from bncodemod.verify.layers import Need, need, needs
from bncodemod.verify.specs import Feed, Spec
from bncodemod.verify.witness import Witness, witness

_MOST_GUESSES = 60
_MOST_SECONDS = 10.0
_MOST_NUMBERS = 1 << 23  # in one input, per sample
_STATED = ("img_size", "image_size", "input_size", "input_resolution")
_IMAGE_SIZES = (64, 128, 224, 256, 299, 32, 512)
_MAP_SIZES = (16, 8, 32, 7, 14, 4, 64)
_LENGTHS = (16, 64, 49, 196, 256, 1)
_FRAMES = {7: 4, 14: 8, 16: 8, 64: 8, 128: 16, 224: 16, 256: 16}

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
        self._cost: dict[str, float] = {}

    def add(self, feeds: Iterable[Feed], cost: float = 0.0) -> None:
        for feed in feeds:
            text = str(feed)
            if text not in self._cost and all(s.count <= _MOST_NUMBERS for s in feed.specs()):
                self._cost[text] = cost
                heapq.heappush(self._queue, (cost, next(self._count), feed))

    def __iter__(self) -> Iterator[Feed]:
        for rank, feed in enumerate(first_guesses(self._module)):
            self.add([feed], 1.0 + rank)
        end = time.process_time() + _MOST_SECONDS
        for _ in range(_MOST_GUESSES):
            if not self._queue or time.process_time() > end:
                return
            yield heapq.heappop(self._queue)[2]

    def mend(self, feed: Feed, error: Exception) -> None:
        """Queue what ``error`` suggests in place of ``feed``."""
        cost = self._cost[str(feed)]
        for rank, other in enumerate(_mended(feed, str(error), witness(error))):
            self.add([other], cost + 0.3 + 0.2 * rank)


def larger(feed: Feed) -> Feed | None:
    """The same with images and maps of twice the size."""
    return _resized(feed, lambda size: 2 * size)


def first_guesses(module: nn.Module) -> Iterator[Feed]:
    """What the signature of ``forward`` and the first layers suggest."""
    slots = _slots(module)
    tensors = list(_tensors(module))
    for tensor in tensors:
        yield _filled(slots, tensor, 0)
    for choice in (1, 2):
        for tensor in tensors[:2]:
            yield _filled(slots, tensor, choice)


def _slots(module: nn.Module) -> list[tuple[inspect.Parameter, tuple[Any, ...]]]:
    """The parameters that ``forward`` needs, each with the ways of filling it."""
    needed = [each for each in parameters(module.forward) if each.default is each.empty]
    variadic = [
        each
        for each in inspect.signature(module.forward).parameters.values()
        if each.kind is each.VAR_POSITIONAL
    ]
    if not needed:
        optional = [each for each in parameters(module.forward)][:1]
        needed = variadic or optional
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
    if origin is dict:
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
                "list": [_halved(tensor, n) for n in range(4)],
                "dict": {str(n): _halved(tensor, n) for n in range(4)},
            }
            value = filled[value]
        if parameter.kind is parameter.KEYWORD_ONLY:
            keywords[parameter.name] = value
        else:
            positional.append(value)
    return Feed(tuple(positional), keywords)


def _halved(spec: Spec, times: int) -> Spec:
    """A map further down a pyramid."""
    if len(spec.shape) < 4:
        return spec
    return replace(
        spec, shape=(*spec.shape[:2], *(max(1, size >> times) for size in spec.shape[2:]))
    )


def _tensors(module: nn.Module) -> Iterator[Spec]:
    """Tensors that the first layers suggest, in usual sizes; then all ranks."""
    wanted = list(itertools.islice(needs(module), 3)) or [Need(64, (4, 3, 2))]
    stated = _stated_size(module)
    first = wanted[0]
    for rank in first.ranks:
        yield _tensor(first, rank, stated[0] if stated else _sizes(first)[0])
    sizes = (*stated[1:], *_sizes(first)) if stated else _sizes(first)[1:]
    for size in sizes[:4]:
        yield _tensor(first, first.ranks[0], size)
    for other in wanted[1:]:
        yield _tensor(other, other.ranks[0], _sizes(other)[0])
    if first.channels != 3:
        yield Spec((1, 3, 64, 64))
    for rank in (4, 3, 2, 5):
        if rank not in first.ranks:
            yield _tensor(first, rank, _sizes(first)[0])


def _sizes(wanted: Need) -> tuple[int, ...]:
    return _IMAGE_SIZES if wanted.channels <= 4 and wanted.axis == 1 else _MAP_SIZES


def _stated_size(module: nn.Module) -> list[int]:
    """The size of images that a module says it is made for."""
    for part in itertools.islice(module.modules(), 8):
        for name in _STATED:
            value = getattr(part, name, None)
            value = value[-1] if isinstance(value, (tuple, list)) and value else value
            if type(value) is int and value > 1:
                return [value]
    return []


def _tensor(wanted: Need, rank: int, size: int) -> Spec:
    if wanted.high:
        return Spec((1, 16)[:rank], "int", wanted.high)
    middle: tuple[int, ...] = (size,) * (rank - 2)
    if rank == 3:
        middle = (size * size if size <= 16 else size,)
    if rank == 5 and wanted.axis == 1:
        middle = (_FRAMES.get(size, 8), size, size)
    if wanted.axis == 1:
        return Spec((1, wanted.channels, *middle))
    return Spec((1, *middle, wanted.channels))


def _mended(feed: Feed, message: str, seen: Witness | None) -> Iterator[Feed]:
    """Other feeds, the likeliest first."""
    if re.search(r"Long|indices|scalar type|same dtype|dtype|Float", message):
        yield from _each(feed, _other_values)
    wanted = need(seen.layer) if seen is not None else None
    if seen is not None and wanted is not None:
        yield from _to_need(feed, wanted, seen.shape)
    numbers = [int(text) for text in re.findall(r"(?<![\w.])\d+(?![\w.])", message)]
    if re.search(r"size|match|divisible|shape|dimension|small|large|spatial|more than 1", message):
        for number in dict.fromkeys(numbers):
            if 4 <= number <= 1024:
                yield from _swapped(feed, number, numbers)
    if re.search(r"[Ss]ize|spatial|small|divisible|must match|invalid for input|kernel", message):
        for size in (2, 3.5, 4, 0.5):
            if (other := _resized(feed, lambda old, by=size: int(old * by))) is not None:
                yield other
    if re.search(r"unpack|\bdim|D input|rank|[Dd]imension|index out of range|shape", message):
        yield from _each(feed, _other_ranks)
    if re.search(r"must be Tensor, not (list|tuple)|'(list|tuple)' object", message):
        yield _unlisted(feed)
    if re.search(r"tuple of Tensors|list|iterat|unpack|Sequence", message):
        yield from _listed(feed)


def _each(feed: Feed, change: Callable[[Spec], Iterable[Spec]]) -> Iterator[Feed]:
    """The feed with one of its tensors changed, or all alike ones at once."""
    for spec in dict.fromkeys(feed.specs()):
        for other in change(spec):
            yield feed.map(lambda leaf, old=spec, new=other: new if leaf == old else leaf)
    specs = feed.specs()
    if len(specs) > 1:
        for place in range(len(specs)):
            for other in change(specs[place]):
                yield _at(feed, place, other)


def _at(feed: Feed, place: int, other: Spec) -> Feed:
    """The feed with the tensor at one place changed."""
    count = itertools.count()
    return feed.map(lambda leaf: other if isinstance(leaf, Spec) and next(count) == place else leaf)


def _other_values(spec: Spec) -> Iterator[Spec]:
    if spec.values == "float":
        yield replace(spec, values="int", high=10)
    else:
        yield replace(spec, values="float")


def _other_ranks(spec: Spec) -> Iterator[Spec]:
    rank, shape = len(spec.shape), spec.shape
    if rank == 4:
        yield replace(spec, shape=(shape[0], shape[2] * shape[3], shape[1]))
        yield replace(spec, shape=shape[:2])
        yield replace(spec, shape=(shape[0], *shape[2:], shape[1]))
        yield replace(spec, shape=(*shape[:2], 8, *shape[2:]))
        yield replace(spec, shape=shape[:3])
    elif rank == 3:
        yield replace(spec, shape=(*shape[:2], 16, 16))
        yield replace(spec, shape=(shape[0], shape[2], 16, 16))
        yield replace(spec, shape=(shape[0], shape[2]))
        yield replace(spec, shape=(shape[0], shape[2], shape[1]))
    elif rank == 2:
        yield replace(spec, shape=(shape[0], 16, shape[1]))
        yield replace(spec, shape=(*shape, 16))
        yield replace(spec, shape=(*shape, 16, 16))
        yield replace(spec, shape=(shape[0], 16, 16, shape[1]))
    elif rank == 5:
        yield replace(spec, shape=(*shape[:2], *shape[3:]))


def _to_need(feed: Feed, wanted: Need, shape: tuple[int, ...]) -> Iterator[Feed]:
    """What the failing layer needs, where a tensor has the channels that it was given."""
    if wanted.high:
        yield from _each(feed, lambda spec: [replace(spec, values="int", high=wanted.high)])
        return
    if len(shape) > 1 and len(shape) in wanted.ranks:
        axis = wanted.axis % len(shape)
        given = shape[axis]
        if given != wanted.channels:
            yield from _each(feed, lambda spec: _exchanged(spec, given, wanted.channels))
            yield from _areas(feed, given, wanted.channels)
            yield from _each(feed, lambda spec: _multiplied(spec, given, wanted.channels))
    elif shape and len(shape) not in wanted.ranks:
        for rank in wanted.ranks:
            new = _tensor(wanted, rank, _sizes(wanted)[0])
            yield from _each(feed, lambda spec, new=new: [replace(spec, shape=new.shape)])


def _exchanged(spec: Spec, given: int, wanted: int) -> Iterator[Spec]:
    """``wanted`` in the first place behind the batch where ``given`` stands."""
    for axis in range(1, len(spec.shape)):
        if spec.shape[axis] == given:
            yield replace(spec, shape=(*spec.shape[:axis], wanted, *spec.shape[axis + 1 :]))


def _multiplied(spec: Spec, given: int, wanted: int) -> Iterator[Spec]:
    """Channels that become ``wanted`` where they became ``given``, as after a concatenation."""
    for axis in (1, len(spec.shape) - 1):
        if len(spec.shape) > axis > 0:
            grown, rest = divmod(spec.shape[axis] * wanted, given)
            if not rest and grown:
                yield replace(spec, shape=(*spec.shape[:axis], grown, *spec.shape[axis + 1 :]))


def _areas(feed: Feed, given: int, wanted: int) -> Iterator[Feed]:
    """Maps so large that ``wanted`` values are left where ``given`` were, once flattened."""
    if (given and wanted > 4 * given) or wanted * 4 < given:
        factor = (wanted / given) ** 0.5
        if (other := _resized(feed, lambda size: round(size * factor))) is not None:
            yield other


def _swapped(feed: Feed, number: int, numbers: list[int]) -> Iterator[Feed]:
    """A number of the message in place of another one of it, or as the size of the maps."""
    for other in dict.fromkeys(numbers):
        if other != number:
            yield from _each(feed, lambda spec, old=other: _exchanged(spec, old, number))
    if (resized := _resized(feed, lambda size: number)) is not None:
        yield resized


def _resized(feed: Feed, change: Callable[[int], int]) -> Feed | None:
    """All images and maps in another size."""

    def leaf(value: Any) -> Any:
        if not isinstance(value, Spec) or len(value.shape) < 3 or value.values != "float":
            return value
        keep = {3: 2, 4: 2, 5: 3}.get(len(value.shape), 2)
        sizes = [max(1, change(size)) for size in value.shape[keep:]]
        return replace(value, shape=(*value.shape[:keep], *sizes))

    other = feed.map(leaf)
    areas = [size for spec in other.specs() for size in spec.shape[2:]]
    return None if other == feed or max(areas, default=0) > 1024 else other


def _listed(feed: Feed) -> Iterator[Feed]:
    """The first input as a list, a pyramid or alike."""
    if feed.positional and isinstance(spec := feed.positional[0], Spec):
        rest = feed.positional[1:]
        for count in (2, 3, 4):
            yield Feed(([spec] * count, *rest), feed.keywords)
            if len(spec.shape) == 4:
                yield Feed(([_halved(spec, n) for n in range(count)], *rest), feed.keywords)


def _unlisted(feed: Feed) -> Feed:
    return Feed(
        tuple(
            value[0] if isinstance(value, (list, tuple)) and value else value
            for value in feed.positional
        ),
        feed.keywords,
    )
