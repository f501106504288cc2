"""Which layer an error was raised in, and the shape that it was given."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Witness:
    """The innermost module whose call failed, and its first input's shape (empty: not a tensor)."""

    layer: nn.Module
    shape: tuple[int, ...]


def witness(error: BaseException) -> Witness | None:
    """Read from the traceback: the last ``forward`` on it."""
    found = None
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        code = frame.f_code
        if code.co_name == "forward" and code.co_argcount > 1:
            values = [frame.f_locals.get(name) for name in code.co_varnames[: code.co_argcount]]
            layer, given = values[0], values[1]
            if isinstance(layer, nn.Module):
                shape = tuple(given.shape) if isinstance(given, torch.Tensor) else ()
                found = Witness(layer, shape)
        trace = trace.tb_next
    return found
