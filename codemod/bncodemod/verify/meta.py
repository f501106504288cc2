"""Where tensors go while a model is built: the meta device, wherever its constructor lets them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn import init
from torch.overrides import TorchFunctionMode

from bncodemod.verify.compiled import is_compiled
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
        with META, _Unfilled():
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
    """On meta, with what a constructor has put on the CPU by name; compiled code stays there."""
    moves = isinstance(made, nn.Module) and not is_compiled(made)
    return made.to(META) if moves else made  # type: ignore[attr-defined]


def device_of(module: nn.Module) -> torch.device:
    """Where a module was built."""
    tensors = (*module.parameters(), *module.buffers())
    return CPU if any(tensor.device.type == "cpu" for tensor in tensors) else META


def is_lazy(tensor: torch.Tensor) -> bool:
    """Whether a parameter or buffer gets its shape when the module first runs."""
    return torch.nn.parameter.is_lazy(tensor)


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


class _Unfilled(TorchFunctionMode):
    """While open, nothing is filled on meta: there are no values, and it takes half of a build."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _FILLING:
            filled = args[0] if args else kwargs["tensor"]
            # Of fewer dimensions some of them raise.
            if filled.device == META and (func in _OF_ANY_SHAPE or filled.dim() > 1):
                return filled
        return func(*args, **kwargs)


_OF_ANY_SHAPE = frozenset(
    {Tensor.fill_, Tensor.zero_, Tensor.normal_, Tensor.uniform_, Tensor.erfinv_}
    | {init.uniform_, init.normal_, init.constant_}
)
_FILLING = _OF_ANY_SHAPE | {init.kaiming_uniform_}

Rooms = list[tuple[int, int]]


@contextmanager
def quick_kernels() -> Iterator[Rooms]:
    """Norms and grid samplers on meta answer an empty tensor once their arguments are checked.

    Their own kernels there are made of Python decompositions: 3 ms a call, most of a search's time.
    Each call of a norm's function adds to the list that is given: the norm, by the id of its
    weights or else the number of calls before, and how many values a channel of a sample had.
    """
    rooms: Rooms = []

    def quick_norm(name: str, slow: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def quick(*args: Any, **kwargs: Any) -> Tensor:
            if kwargs or args[0].dim() < 2 or not args[0].numel():
                return slow(*args, **kwargs)
            weight = next(iter(args[_FOR_EACH_CHANNEL[name][-1] :]), None)
            norm = len(rooms) if weight is None else id(weight)
            rooms.append((norm, args[0][0, 0].numel()))
            # What the user's code calls itself is for the modes that are open.
            is_torchs = sys._getframe(1).f_globals is vars(F)
            is_known = is_torchs and args[0].device == META and _fits(name, args)
            return torch.empty_like(args[0]) if is_known else slow(*args)

        return quick

    def quick_sampler(slow: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def quick(values: Tensor, grid: Tensor, *args: Any) -> Tensor:
            if values.device != META or not _samples(values, grid):
                return slow(values, grid, *args)
            return values.new_empty((*values.shape[:2], *grid.shape[1:-1]))

        return quick

    with ExitStack() as stack:
        for name in _FOR_EACH_CHANNEL:
            quick = quick_norm(name, getattr(torch, name))
            stack.enter_context(replaced(torch, name, quick))
        sampler = quick_sampler(torch.grid_sampler)
        stack.enter_context(replaced(torch, "grid_sampler", sampler))
        yield rooms


# The places of arguments that have a number for each channel.
_FOR_EACH_CHANNEL = {"batch_norm": (1, 3), "instance_norm": (1, 3), "group_norm": (2,)}


def _fits(name: str, args: tuple[Any, ...]) -> bool:
    """Whether a norm's function accepts its arguments, as far as a search can go wrong there."""
    values, channels = args[0], args[0].shape[1]
    sized = [args[place] for place in _FOR_EACH_CHANNEL[name] if place < len(args)]
    for each in sized:
        if each is not None and (each.shape[0] != channels or each.dtype != values.dtype):
            return False
    return name != "group_norm" or channels % args[1] == 0


def _samples(values: Tensor, grid: Tensor) -> bool:
    """Whether a grid sampler accepts its arguments."""
    return (
        values.dim() == grid.dim()
        and values.dim() in (4, 5)
        and values.shape[0] == grid.shape[0]
        and grid.shape[-1] == values.dim() - 2
        and values.dtype == grid.dtype
        and all(values.shape[2:])
    )
