"""What operators take on meta and nowhere else: integers in products, indices out of range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from bncodemod.verify.specs import Feed, Spec

_PRODUCTS = frozenset(
    {
        F.linear,
        F.bilinear,
        F.conv1d,
        F.conv2d,
        F.conv3d,
        F.conv_transpose1d,
        F.conv_transpose2d,
        F.conv_transpose3d,
        torch.matmul,
        torch.mm,
        torch.mv,
        Tensor.matmul,
        Tensor.mm,
        Tensor.__matmul__,
        Tensor.__rmatmul__,
    }
)
_OF_FLOATS = frozenset(
    {
        F.batch_norm,
        F.instance_norm,
        F.group_norm,
        F.layer_norm,
        F.gelu,
        F.silu,
        F.mish,
        torch.softmax,
        F.softmax,
        F.log_softmax,
        Tensor.softmax,
    }
)


class Strict(TorchFunctionMode):
    """While open, operators refuse on meta what they would refuse on a device.

    ``given`` are the inputs: how many rows the embeddings have that each of them reaches is noted.
    """

    def __init__(self, given: Sequence[Tensor]) -> None:
        super().__init__()
        self._given = given
        self._rows: dict[int, int] = {}  # by the input's place
        self._least = 0  # of all embeddings

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _PRODUCTS:
            _refuse_mixed([value for value in (*args, *kwargs.values()) if _is_tensor(value)])
        elif func in _OF_FLOATS and args and _is_whole(args[0]):
            raise RuntimeError(f"{func.__name__}: expected dtype float, but got {args[0].dtype}")
        elif func is F.embedding and len(args) > 1:
            self._note(args[0], args[1].shape[0])
        return func(*args, **kwargs)

    def _note(self, indices: Any, rows: int) -> None:
        self._least = min(rows, self._least or rows)
        for place, tensor in enumerate(self._given):
            if indices is tensor or getattr(indices, "_base", None) is tensor:
                self._rows[place] = min(rows, self._rows.get(place, rows))

    def bounded(self, feed: Feed) -> Feed:
        """The feed with integers below the rows of the embeddings that they reach."""
        places = iter(range(len(self._given)))

        def leaf(value: Any) -> Any:
            if not isinstance(value, Spec):
                return value
            rows = self._rows.get(next(places), self._least)
            if value.values != "int" or not rows:
                return value
            return replace(value, high=min(value.high, rows))

        return feed.map(leaf)


def _refuse_mixed(tensors: list[Tensor]) -> None:
    kinds = {tensor.dtype for tensor in tensors}
    if len(kinds) > 1 and any(_is_whole(tensor) for tensor in tensors):
        first, second, *_ = tensors
        raise RuntimeError(
            f"the factors must have the same dtype, but got {first.dtype} and {second.dtype}"
        )


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _is_whole(value: Any) -> bool:
    return _is_tensor(value) and not (value.is_floating_point() or value.is_complex())
