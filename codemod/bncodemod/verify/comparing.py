"""When two answers count as equal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

# The largest difference that passes, as a part of the scale of the answer. vmap sums in another
# order than the loop does. What differs by more in float32 is compared again in float64, where
# rounding is far below any real difference.
TOLERANCE: dict[torch.dtype, float] = {
    torch.float64: 1e-9,
    torch.float32: 1e-4,
    torch.bfloat16: 5e-2,
    torch.float16: 1e-2,
    torch.complex64: 1e-4,
    torch.complex128: 1e-9,
}

# What is 0 but for rounding, as the gradient of a bias before a batch norm, has no scale of its
# own: it is held against this part of the largest number in the whole answer, or of 1.
_FLOOR = 1e-3

# Where float64 cannot decide, as in a recurrent layer, what is off by so many steps of the type is
# rounding: steps of 1, or of the largest number in the whole answer.
_STEPS = 8


def difference(
    answers: Sequence[Tensor], loop: Iterable[Sequence[Tensor]], *, is_final: bool = False
) -> str:
    """How stacked answers differ from those of a loop, in words; empty if they are equal.

    The loop may make its answers one after the other: each is held only while it is compared.
    ``is_final`` lets rounding pass that another comparison, in float64, would not settle.
    """
    for step, each in enumerate(loop):
        if len(each) != len(answers):
            return f"{len(answers)} tensors instead of {len(each)}"
        whole = max(map(_largest, each), default=0.0)
        for place, (answer, part) in enumerate(zip(answers, each, strict=True)):
            if words := differs(answer[step], part, whole, is_final):
                return words if len(answers) == 1 else f"output {place}: {words}"
    return ""


def differs(one: Tensor, other: Tensor, whole: float = 0.0, is_final: bool = False) -> str:
    """How two tensors differ, in words; empty if they are equal within the tolerance.

    ``whole`` is the largest number in the answer that they are a part of.
    """
    if one.shape != other.shape:
        return f"shape {tuple(one.shape)} instead of {tuple(other.shape)}"
    if one.dtype != other.dtype:
        return f"{one.dtype} instead of {other.dtype}"
    tolerance = TOLERANCE.get(one.dtype)
    if tolerance is None or not one.numel():
        return "" if torch.equal(one, other) else "other whole numbers"
    one, other = one.detach(), other.detach()
    off = _range(one - other)
    if not math.isfinite(off):
        if not torch.equal(one.isfinite(), other.isfinite()):
            return "NaN or infinity in other places"
        off = _largest(one - other)
    scale = max(_largest(other), _FLOOR * whole, _FLOOR)
    rounding = _STEPS * torch.finfo(one.dtype).eps * max(1.0, whole) if is_final else 0.0
    if off <= max(tolerance * scale, rounding):
        return ""
    return f"off by {off:.3g} where the largest number is {scale:.3g}"


def _largest(tensor: Tensor) -> float:
    """The largest finite number of a tensor of floats; 0 for any other."""
    if tensor.dtype not in TOLERANCE or not tensor.numel():
        return 0.0
    tensor = tensor.detach()
    if math.isfinite(largest := _range(tensor)):
        return largest
    finite = tensor[tensor.isfinite()]
    return _range(finite) if finite.numel() else 0.0


def _range(tensor: Tensor) -> float:
    """The largest number; not finite if any is not.

    A single pass over memory, where ``abs``, ``isfinite`` and a mask take a hundred times as long.
    """
    least, most = torch.aminmax(tensor.abs() if tensor.is_complex() else tensor)
    return max(abs(float(least)), abs(float(most)))
