"""State dicts wherever they lie in a checkpoint: under ``"model"``, in lists, EMA copies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

from bncodemod.checkpoint.norm_keys import BUFFERS, Decide, Plan, Shape


def plans(
    checkpoint: Any, shape_of: Callable[[Any], Shape | None], decide: Decide
) -> Iterator[tuple[str, Plan, MutableMapping[Any, Any]]]:
    """Every mapping with running statistics: its place, what becomes of it, and the mapping."""
    for place, shapes, mapping in state_dicts(checkpoint, shape_of):
        if any(key.rpartition(".")[2] in BUFFERS for key in shapes):
            yield place, decide(shapes), mapping


def state_dicts(
    checkpoint: Any, shape_of: Callable[[Any], Shape | None]
) -> Iterator[tuple[str, dict[str, Shape], MutableMapping[Any, Any]]]:
    """Every mapping that holds tensors: its place, their shapes, and the mapping.

    ``shape_of`` gives the shape of a tensor and None for anything else. One mapping that hangs in
    two places comes once.
    """
    seen: set[int] = set()
    pending: list[tuple[str, Any]] = [("", checkpoint)]
    while pending:
        place, value = pending.pop()
        if not isinstance(value, (MutableMapping, list, tuple)) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, MutableMapping):
            shapes = _shapes(value, shape_of)
            if shapes:
                yield place, shapes, value
            inner = [(_joined(place, key), held) for key, held in value.items()]
        else:
            inner = [(f"{place}[{number}]", held) for number, held in enumerate(value)]
        pending.extend(reversed(inner))


def drop(found: Plan, mapping: MutableMapping[Any, Any]) -> None:
    """Take the planned keys out of a mapping, which stays the object that it is."""
    for key in found.dropped:
        del mapping[key]


def _shapes(
    mapping: MutableMapping[Any, Any], shape_of: Callable[[Any], Shape | None]
) -> dict[str, Shape]:
    shapes = ((key, shape_of(value)) for key, value in mapping.items() if isinstance(key, str))
    return {key: shape for key, shape in shapes if shape is not None}


def _joined(place: str, key: Any) -> str:
    return f"{place}.{key}" if place else str(key)
