"""Other inputs after a failure: what the message says, and the layer that raised it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from bncodemod.verify.layers import Need, need
from bncodemod.verify.shapes import halved, tensor_for, usual_sizes
from bncodemod.verify.specs import Feed, Spec
from bncodemod.verify.witness import Witness


def larger(feed: Feed) -> Feed | None:
    """The same with images and maps of twice the size."""
    return _resized(feed, lambda size: 2 * size)


def smaller(feed: Feed) -> Feed | None:
    """The same with images and maps of half the size."""
    return _resized(feed, lambda size: (size + 1) // 2)


def mended(feed: Feed, message: str, seen: Witness | None) -> Iterator[Feed]:
    """Other feeds after one ended in ``message``, the likeliest first."""
    if re.search(r"list of \d ?-?[dD] (tensors|images)", message):
        yield _unlisted(feed)  # a batch is a list of its samples, if it is gone through
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
            if (other := _resized(feed, partial(_times, size))) is not None:
                yield other
    if re.search(r"unpack|\bdim|D input|rank|[Dd]imension|index out of range|shape", message):
        yield from _each(feed, _other_ranks)
    if re.search(r"must be Tensor, not (list|tuple)|'(list|tuple)' object", message):
        yield _unlisted(feed)
    if re.search(r"tuple of Tensors|list|iterat|unpack|Sequence", message):
        yield from _listed(feed)


def keyed(feed: Feed, error: Exception) -> list[Feed]:
    """The feed with a dict that has the key that was looked up in vain, if that is what failed."""
    if _NO_KEY.search(str(error)):
        changed = tuple({"0": each} if isinstance(each, Spec) else each for each in feed.positional)
        return [replace(feed, positional=changed)]
    if not isinstance(error, KeyError) or not error.args or type(error.args[0]) is not str:
        return []

    def with_key(value: Any) -> Any:
        if not isinstance(value, dict) or not value or error.args[0] in value:
            return value
        first = next(iter(value.values()))
        named = {} if all(name.isdecimal() for name in value) else value  # numbers are guesses
        return {**named, error.args[0]: first}

    changed = tuple(map(with_key, feed.positional))
    other = Feed(changed, {name: with_key(value) for name, value in feed.keywords.items()})
    return [] if str(other) == str(feed) else [other]


# What a tensor says that is asked for a name: it takes this for indices, one a character.
_NO_KEY = re.compile(r"invalid data type 'str'|too many indices for tensor")


def _each(feed: Feed, change: Callable[[Spec], Iterable[Spec]]) -> Iterator[Feed]:
    """The feed with one of its tensors changed, or all alike ones at once."""
    for spec in dict.fromkeys(feed.specs()):
        for other in change(spec):
            yield _exchanging(feed, spec, other)
    specs = feed.specs()
    if len(specs) > 1:
        for place in range(len(specs)):
            for other in change(specs[place]):
                yield _at(feed, place, other)


def _exchanging(feed: Feed, old: Spec, new: Spec) -> Feed:
    return feed.map(lambda leaf: new if leaf == old else leaf)


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
        indices = partial(replace, values="int", high=wanted.high)
        yield from _each(feed, lambda spec: [indices(spec), indices(spec, shape=spec.shape[:1])])
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
            new = tensor_for(wanted, rank, usual_sizes(wanted)[0])
            yield from _each(feed, partial(_shaped, new.shape))


def _times(factor: float, size: int) -> int:
    return int(size * factor)


def _instead(number: int, size: int) -> int:
    return number


def _shaped(shape: tuple[int, ...], spec: Spec) -> Iterator[Spec]:
    yield replace(spec, shape=shape)


def _exchanged(spec: Spec, given: int, wanted: int) -> Iterator[Spec]:
    """``wanted`` where ``given`` stands behind the batch: heights and widths change together."""
    channels, space = spec.shape[1:2], spec.shape[2:]
    if given in channels:
        yield replace(spec, shape=(spec.shape[0], wanted, *space))
    if given in space:
        changed = [wanted if size == given else size for size in space]
        yield replace(spec, shape=(spec.shape[0], *channels, *changed))


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
            yield from _each(feed, partial(_exchanged, given=other, wanted=number))
    if (resized := _resized(feed, partial(_instead, number))) is not None:
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
                yield Feed(([halved(spec, n) for n in range(count)], *rest), feed.keywords)


def _unlisted(feed: Feed) -> Feed:
    return Feed(
        tuple(
            value[0] if isinstance(value, (list, tuple)) and value else value
            for value in feed.positional
        ),
        feed.keywords,
    )
