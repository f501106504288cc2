"""Where tensors go while a model is built: the meta device, wherever its constructor lets them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn

from bncodemod.verify.offline import replaced

META = torch.device("meta")
CPU = torch.device("cpu")
MOST_PARAMETERS = 100_000_000  # of a module that is built on the CPU to find its inputs


def build(make: Callable[[], object]) -> object:
    """What ``make`` builds, on meta as far as possible; raises what it raises on the CPU.

    Constructors that ask for values, as ``torch.linspace(...).tolist()``, fail on meta. Then the
    parameters alone are put there: nothing is initialised, and values that are computed exist.
    What needs the CPU for them too is refused if it is large: some models would fill the memory.
    """
    try:
        with META:
            return _moved(make())
    except Exception as error:
        if not asks_for_values(error):
            raise
    try:
        with CPU, _parameters_on_meta():
            return _moved(make())
    except Exception as error:
        if not asks_for_values(error):
            raise
    with CPU, _of_bounded_size():
        return make()


def _moved(made: object) -> object:
    """On meta, with what a constructor has put on the CPU by name."""
    return made.to(META) if isinstance(made, nn.Module) else made


def device_of(module: nn.Module) -> torch.device:
    """Where a module was built."""
    tensors = (*module.parameters(), *module.buffers())
    return CPU if any(tensor.device.type == "cpu" for tensor in tensors) else META


def asks_for_values(error: BaseException) -> bool:
    """Whether an error may be due to tensors without values, as those on meta are."""
    return re.search("meta", str(error), re.IGNORECASE) is not None


def _parameters_on_meta() -> AbstractContextManager[None]:
    def moved(value: nn.Parameter) -> nn.Parameter:
        return nn.Parameter(value.detach().to(META), value.requires_grad)

    return _registering(moved)


def _of_bounded_size() -> AbstractContextManager[None]:
    count = 0

    def counted(value: nn.Parameter) -> nn.Parameter:
        nonlocal count
        count += value.numel()
        if count > MOST_PARAMETERS:
            raise MemoryError(
                f"its constructor asks for values, and it has over {MOST_PARAMETERS:,} parameters"
            )
        return value

    return _registering(counted)


def _registering(
    change: Callable[[nn.Parameter], nn.Parameter],
) -> AbstractContextManager[None]:
    """While open, parameters are changed when a module is given them."""
    register = nn.Module.register_parameter

    def registering(self: nn.Module, name: str, value: nn.Parameter | None) -> None:
        register(self, name, change(value) if type(value) is nn.Parameter else value)

    return replaced(nn.Module, "register_parameter", registering)


@contextmanager
def quick_batch_norms() -> Iterator[None]:
    """Batch norms on meta answer an empty tensor after the checks that a search learns from.

    Their own kernel there is made of Python decompositions: 5 ms a call, most of a search's time.
    """
    slow = torch.batch_norm

    def quick(
        values: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        running_mean: torch.Tensor | None,
        *rest: Any,
    ) -> torch.Tensor:
        if values.device != META or values.dim() < 2:
            return slow(values, weight, bias, running_mean, *rest)
        for each in (weight, running_mean):
            if each is not None and each.shape[0] != values.shape[1]:
                return slow(values, weight, bias, running_mean, *rest)
        return torch.empty_like(values)

    with replaced(torch, "batch_norm", quick):
        yield
