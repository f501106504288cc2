"""Which norms fail: all of a model's in one run, each going on without its running statistics."""

from __future__ import annotations

import re
import sys
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _NormBase
from torch.overrides import TorchFunctionMode

from bncodemod.verify.model import Site
from bncodemod.verify.recorder import Recorder, place_of, running_norm, sites_of

_BUFFERS = ("running_mean", "running_var")
_REFUSAL = re.compile(r"running_mean or running_var|would mutate a captured Tensor")
_POSITIONS = {  # of the two buffers
    functional.batch_norm: (1, 2),
    functional.instance_norm: (1, 2),
    torch.batch_norm: (3, 4),
    torch.instance_norm: (3, 4),
}


class Lenient(TorchFunctionMode):
    """While open, a norm that fails for its running statistics is noted and runs without them.

    ``sites`` built the norms that failed; ``elsewhere`` says where those stand that no site built.
    """

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.sites: set[Site] = set()
        self.elsewhere: set[str] = set()
        self._recorder = recorder

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        try:
            return func(*args, **kwargs)
        except RuntimeError as error:
            norm = running_norm(sys._getframe(1))
            counts = func is torch.Tensor.add_ and isinstance(norm, _NormBase)
            if not _REFUSAL.search(str(error)) or not (counts or func in _POSITIONS):
                raise
        self._blame(norm)
        if counts:  # the batches that were seen
            return args[0]
        positions = _POSITIONS[func]
        args = tuple(None if i in positions else value for i, value in enumerate(args))
        return func(*args, **{k: None if k in _BUFFERS else v for k, v in kwargs.items()})

    def _blame(self, norm: nn.Module | None) -> None:
        sites = self._recorder.here() | (sites_of(norm) if norm is not None else frozenset())
        self.sites |= sites
        if not sites:
            self.elsewhere.add(place_of(norm) if norm is not None else "a function's call")
