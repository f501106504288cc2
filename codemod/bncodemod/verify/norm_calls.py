"""Calls of norms' functions, and what they say of how a norm works."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from bncodemod.verify.model import Site

BATCH_NORMS = frozenset({functional.batch_norm, torch.batch_norm})
GROUP_NORMS = frozenset({functional.group_norm, torch.group_norm})
FUNCTIONS = BATCH_NORMS | GROUP_NORMS | frozenset({functional.instance_norm, torch.instance_norm})


@dataclass(frozen=True)
class Fed:
    """A norm's input, as far as it tells what the norm leaves of it.

    ``has_rows`` says that its first axis may be that of the batch, ``values`` how many there are to
    a statistic, more than two counting as three; ``is_split`` that each channel has its own: of
    other inputs of the same channels, there may then be one value to a statistic.
    """

    axes: int
    has_rows: bool
    values: int
    is_split: bool


@dataclass(frozen=True)
class NormCall:
    """A call of a norm's function, by a norm (``place`` says which) or by the user's code."""

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    answer: torch.Tensor
    sites: frozenset[Site]
    place: str

    @property
    def input(self) -> torch.Tensor:
        value: torch.Tensor = self.args[0] if self.args else self.kwargs["input"]
        return value

    @property
    def values(self) -> int:
        """How many values of a sample each statistic is taken from; 0 for batch norms."""
        if self.function in BATCH_NORMS or self.input.dim() < 2:
            return 0
        groups = self.input.shape[1]
        if self.function in GROUP_NORMS:
            groups = self.args[1] if len(self.args) > 1 else self.kwargs["num_groups"]
        return math.prod(self.input.shape[1:]) // max(int(groups), 1)

    @property
    def fed(self) -> Fed:
        """What decides whether a norm of single samples can be at fault."""
        shape = self.input.shape
        is_split = self.values == math.prod(shape[2:])
        return Fed(len(shape), shape[0] > 1, min(self.values, 3), is_split)

    @property
    def uses_batch(self) -> bool:
        """Whether it is a batch norm that takes its statistics from the batch."""
        training = self.args[5] if len(self.args) > 5 else self.kwargs.get("training", False)
        return self.function in BATCH_NORMS and bool(training)
