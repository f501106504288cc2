"""Which line gave a module an attribute that vmap leaves unusable."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from torch import nn

from bncodemod.verify.causes import is_users
from bncodemod.verify.offline import replaced

Place = tuple[str, int]
Assigned = dict[str, Place]  # by the dotted names of attributes


@contextmanager
def assignments(module: nn.Module, roots: Sequence[str]) -> Iterator[Assigned]:
    """The user's lines that last assigned to the attributes of a module's parts."""
    found: Assigned = {}
    names = {id(part): f"{name}." if name else "" for name, part in module.named_modules()}
    assign = nn.Module.__setattr__

    def assigning(self: nn.Module, name: str, value: Any) -> None:
        if id(self) in names and (place := place_above(sys._getframe(1), roots)):
            found[names[id(self)] + name] = place
        assign(self, name, value)

    with replaced(nn.Module, "__setattr__", assigning):
        yield found


def place_above(frame: FrameType | None, roots: Sequence[str]) -> Place | None:
    """The innermost line that is the user's."""
    while frame is not None:
        if is_users(frame.f_code.co_filename, roots):
            return frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back
    return None
