"""What a module may change in torch for all that its process does afterwards."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import nn
from torch.nn import functional


def state() -> dict[str, Any]:
    """The settings of torch, and the functions of its layers, each by a name to call it by."""
    return {
        "torch.set_default_dtype": torch.get_default_dtype(),
        "torch.set_default_device": torch.empty(0).device,
        "torch.set_grad_enabled": torch.is_grad_enabled(),
        **{
            f"{holder.__name__}.{name}": value
            for holder in _holders()
            for name, value in vars(holder).items()
            if isinstance(value, FunctionType)
        },
    }


def changes(before: dict[str, Any]) -> list[str]:
    """The names of what is another than before, or new."""
    now = state()
    return [name for name in {**before, **now} if before.get(name) != now.get(name)]


@functools.cache
def _holders() -> tuple[type | ModuleType, ...]:
    return (functional, *_layers(nn.Module))


def _layers(layer: type[nn.Module]) -> Iterator[type]:
    if layer.__module__.startswith("torch.nn.modules."):
        yield layer
        for each in layer.__subclasses__():
            yield from _layers(each)
