"""When two answers count as equal."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# The largest difference that passes, as a part of the largest number in the answer. vmap sums in
# another order than the loop does. What differs by more in float32 is compared again in float64,
# where rounding is far below any real difference.
TOLERANCE: dict[torch.dtype, float] = {
    torch.float64: 1e-9,
    torch.float32: 1e-4,
    torch.bfloat16: 5e-2,
    torch.float16: 1e-2,
    torch.complex64: 1e-4,
    torch.complex128: 1e-9,
}

_ROUNDING = 1e-3  # of the tolerance: what rounding alone makes of the largest number of all


def difference(answers: Sequence[Tensor], loop: Sequence[Sequence[Tensor]]) -> str:
    """How stacked answers differ from those of a loop, in words; empty if they are equal."""
    sizes = {len(each) for each in loop}
    if sizes != {len(answers)}:
        return f"{len(answers)} tensors instead of {', '.join(map(str, sorted(sizes)))}"
    scale = max((_largest(part) for each in loop for part in each), default=0.0)
    for place, answer in enumerate(answers):
        for step, part in zip(answer, (each[place] for each in loop), strict=True):
            if words := differs(step, part, scale):
                return words if len(answers) == 1 else f"output {place}: {words}"
    return ""


def differs(one: Tensor, other: Tensor, scale: float = 0.0) -> str:
    """How two tensors differ, in words; empty if they are equal within the tolerance.

    ``scale`` is the largest number of all tensors that belong together: what should be zero, as the
    gradient of a bias before a batch norm, is of the size of their rounding.
    """
    if one.shape != other.shape:
        return f"shape {tuple(one.shape)} instead of {tuple(other.shape)}"
    if one.dtype != other.dtype:
        return f"{one.dtype} instead of {other.dtype}"
    tolerance = TOLERANCE.get(one.dtype)
    if tolerance is None or not one.numel():
        return "" if torch.equal(one, other) else "other whole numbers"
    if not torch.equal(one.isnan(), other.isnan()):
        return "NaN in other places"
    one, other = one.detach().nan_to_num(), other.detach().nan_to_num()
    largest, off = other.abs().max().item(), (one - other).abs().max().item()
    if off <= tolerance * max(largest, _ROUNDING * scale, torch.finfo(one.dtype).tiny):
        return ""
    return f"off by {off:.3g} where the largest number is {largest:.3g}"


def _largest(tensor: Tensor) -> float:
    """The largest finite number of a tensor of floats; 0 for any other."""
    if tensor.dtype not in TOLERANCE or not tensor.numel():
        return 0.0
    return float(tensor.detach().nan_to_num(posinf=0.0, neginf=0.0).abs().max().item())
