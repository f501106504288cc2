"""The modules that a module holds: those that it registers, and those that torch does not see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from bncodemod.verify.looking import is_instance


def modules_in(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """All modules below one and it itself, with their names.

    Those in a plain list, tuple, set or dict are no part of it to torch, and run all the same.
    """
    seen = set[nn.Module]()
    waiting = [("", module)]
    while waiting:
        prefix, root = waiting.pop()
        for name, part in root.named_modules(seen, prefix):
            yield name, part
            waiting += (
                (f"{name}.{key}".lstrip("."), held)
                for key, value in vars(part).items()
                if key not in _REGISTERED
                for held in _modules_of(value)
            )


_REGISTERED = frozenset({"_parameters", "_buffers", "_modules"})


def _modules_of(value: Any) -> Iterator[nn.Module]:
    if is_instance(value, nn.Module):
        yield value
    elif is_instance(value, list, tuple, set, frozenset, dict):
        for each in list(value.values() if is_instance(value, dict) else value):
            yield from _modules_of(each)
