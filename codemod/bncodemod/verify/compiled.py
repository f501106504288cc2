"""Models that torch.jit has compiled, in which the norms are no modules of Python's any more."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn


def is_compiler(function: object) -> bool:
    """Whether it is what compiles models."""
    return function is torch.jit.script or function is torch.jit.trace


def is_compiled(module: nn.Module) -> bool:
    """Whether torch.jit has compiled a module, or a part of it."""
    return next(_compiled(module), None) is not None


def reason(call: str, module: nn.Module) -> str:
    """Why no norm is seen in what a call gives; empty if torch.jit has compiled none of it."""
    part = next(_compiled(module), None)
    if part is None:
        return ""
    where = "gives a model" if part is module else "holds a part"
    return f"{call} {where} that torch.jit has compiled, where no norm is seen: build it without"


def _compiled(module: nn.Module) -> Iterator[nn.Module]:
    return (part for part in module.modules() if isinstance(part, torch.jit.ScriptModule))
