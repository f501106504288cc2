"""Descriptions of inputs from which tensors of any batch size can be made."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Spec:
    """A tensor to be made: its shape with a batch of one, and the values in it.

    The first axis grows with the batch, unless ``batched`` is False. ``values`` is "float",
    "int" (below ``high``), "bool" or "complex".
    """

    shape: tuple[int, ...]
    values: str = "float"
    high: int = 2
    batched: bool = True

    def sizes(self, batch: int) -> tuple[int, ...]:
        if not self.batched or not self.shape:
            return self.shape
        return (self.shape[0] * batch, *self.shape[1:])

    @property
    def count(self) -> int:
        """Numbers in a sample."""
        return math.prod(self.shape)

    def make(
        self,
        sizes: tuple[int, ...],
        generator: torch.Generator,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> torch.Tensor:
        """A tensor whose values are the same whatever device it goes to."""
        kinds = {"int": torch.long, "bool": torch.bool, "complex": torch.complex64}
        kind = kinds.get(self.values, dtype)
        if torch.device(device).type == "meta":
            return torch.empty(sizes, dtype=kind, device=device)
        with torch.device("cpu"):
            if self.values == "int":
                made = torch.randint(0, self.high, sizes, generator=generator)
            elif self.values == "bool":
                made = torch.zeros(sizes, dtype=torch.bool)
            else:
                made = torch.randn(sizes, generator=generator, dtype=kind)
        return made.to(device)

    def __str__(self) -> str:
        sizes = ", ".join(map(str, self.shape[1:] if self.batched else self.shape))
        first = "" if not self.batched else "N" if self.shape[:1] == (1,) else f"{self.shape[0]}N"
        if first and sizes:
            first += ", "
        kind = "" if self.values == "float" else f" {self.values}"
        return f"({first}{sizes}{',' if first and not sizes else ''}){kind}"


@dataclass(frozen=True)
class Feed:
    """What a module is called with; :class:`Spec` wherever a tensor stands."""

    positional: tuple[Any, ...]
    keywords: dict[str, Any]

    def __str__(self) -> str:
        parts = [_text(value) for value in self.positional]
        parts += [f"{name}={_text(value)}" for name, value in self.keywords.items()]
        return ", ".join(parts)

    def map(self, change: Callable[[Any], Any]) -> Feed:
        """The same with each leaf changed."""
        return Feed(
            tuple(map_leaves(change, value) for value in self.positional),
            {name: map_leaves(change, value) for name, value in self.keywords.items()},
        )

    @property
    def count(self) -> int:
        """Numbers in a sample, of all tensors."""
        return sum(spec.count for spec in self.specs())

    def specs(self) -> list[Spec]:
        found: list[Spec] = []
        self.map(lambda leaf: found.append(leaf) if isinstance(leaf, Spec) else None)
        return found


def map_leaves(change: Callable[[Any], Any], value: Any) -> Any:
    """``change`` applied within lists, tuples and dicts."""
    if type(value) in (list, tuple):
        return type(value)(map_leaves(change, item) for item in value)
    if type(value) is dict:
        return {key: map_leaves(change, item) for key, item in value.items()}
    return change(value)


def _text(value: Any) -> str:
    if type(value) in (list, tuple):
        inside = ", ".join(map(_text, value))
        return f"[{inside}]" if type(value) is list else f"({inside})"
    if type(value) is dict:
        return "{" + ", ".join(f"{key!r}: {_text(item)}" for key, item in value.items()) + "}"
    return str(value) if isinstance(value, Spec) else repr(value)


def describe(args: tuple[Any, ...], kwargs: dict[str, Any], batch: int) -> Feed:
    """What a call was given, seen while a batch of ``batch`` went through."""

    def leaf(value: Any) -> Any:
        return _describe_tensor(value, batch) if isinstance(value, torch.Tensor) else value

    return Feed(args, kwargs).map(leaf)


def _describe_tensor(tensor: torch.Tensor, batch: int) -> Spec:
    shape = tuple(tensor.shape)
    if tensor.dtype == torch.bool:
        values = "bool"
    elif tensor.dtype.is_complex:
        values = "complex"
    else:
        values = "float" if tensor.dtype.is_floating_point else "int"
    spec = Spec(shape, values, batched=False)
    if shape and shape[0] and shape[0] % batch == 0:
        return replace(spec, shape=(shape[0] // batch, *shape[1:]), batched=True)
    return spec
