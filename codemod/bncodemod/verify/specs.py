"""Descriptions of inputs from which tensors of any batch size can be made."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Spec:
    """A tensor to be made: its shape with a batch of one, and the values in it.

    The first axis grows with the batch, unless ``batched`` is False. ``values`` is "float",
    "int" (below ``high``), "bool" or "complex". They are random, unless the user has ``given`` a
    tensor: then they are its own.
    """

    shape: tuple[int, ...]
    values: str = "float"
    high: int = 2
    batched: bool = True
    given: torch.Tensor | None = field(default=None, compare=False, repr=False)

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
        if self.given is not None and self.values != "float":
            kind = self.given.dtype
        if torch.device(device).type == "meta":
            return torch.empty(sizes, dtype=kind, device=device)
        with torch.device("cpu"):
            if self.given is not None:
                made = _drawn_from(self.given, sizes, self.shape, self.batched, generator).to(kind)
            elif self.values == "int":
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


def _drawn_from(
    given: torch.Tensor,
    sizes: tuple[int, ...],
    shape: tuple[int, ...],
    is_batched: bool,
    generator: torch.Generator,
) -> torch.Tensor:
    """The samples of ``given`` in turn, from another one on in each batch of a stack.

    No two batches hold the same samples, as far as there are several. Of a single one, the others
    differ in that their numbers, if they are no integers, are up to a tenth smaller.
    """
    samples = given.reshape(-1, *shape) if is_batched else given[None]
    count, is_stacked = len(samples), len(sizes) > len(shape)
    stack = sizes[0] if is_stacked else 1
    batch = sizes[is_stacked] // shape[0] if is_batched else 1
    first = generator.initial_seed()
    turns = torch.arange(batch)
    if batch > 1 and batch % count == 0:
        turns[-1] = 0  # else every batch would hold just the same
    rows = torch.stack([(first + number + turns) % count for number in range(stack)])
    made = samples[rows].reshape(sizes)
    if count == 1 and (made.is_floating_point() or made.is_complex()):
        shrunk = torch.rand(sizes, generator=generator).mul_(0.1)
        shrunk.view(stack * batch, -1)[0] = 0.0
        made = made * (1 - shrunk).to(made.dtype)
    return made


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
        return describe_tensor(value, batch) if isinstance(value, torch.Tensor) else value

    return Feed(args, kwargs).map(leaf)


def describe_tensor(tensor: torch.Tensor, batch: int) -> Spec:
    """The shape and kind of a tensor; with a ``batch`` of 0 no axis is that of one."""
    shape = tuple(tensor.shape)
    if tensor.dtype == torch.bool:
        values = "bool"
    elif tensor.dtype.is_complex:
        values = "complex"
    else:
        values = "float" if tensor.dtype.is_floating_point else "int"
    spec = Spec(shape, values, batched=False)
    if batch and shape and shape[0] and shape[0] % batch == 0:
        return replace(spec, shape=(shape[0] // batch, *shape[1:]), batched=True)
    return spec
