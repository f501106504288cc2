"""Gradients that come back to a batch norm in another order than that of its answer.

Behind a transpose and a matrix product, or a convolution, the gradient of what the norm puts out is
no contiguous tensor. Under vmap, torch's rule for batch norms then gives another gradient than a
loop and says nothing (torch 2.13); the one for GroupNorm does not.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bncodemod.verify.recorder import norms_in

FLATTEN = "behind the norm write x = x.flatten().view(x.shape), or use GroupNorm"


def flattening_gradients(module: nn.Module) -> nn.Module:
    """The same module; what comes back to its norms is contiguous from now on."""
    for _, norm in norms_in(module):
        norm.register_forward_hook(_flattened)
    return module


def _flattened(norm: nn.Module, args: Any, answer: torch.Tensor) -> torch.Tensor:
    return answer.flatten().view(answer.shape)
