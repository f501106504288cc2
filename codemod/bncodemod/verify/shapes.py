"""Tensors of usual sizes: images, feature maps, sequences, videos."""

from __future__ import annotations

from dataclasses import replace

from bncodemod.verify.layers import Need
from bncodemod.verify.specs import Spec

_IMAGE_SIZES = (64, 128, 224, 256, 299, 32, 512)
_MAP_SIZES = (16, 8, 32, 7, 14, 4, 64)
_FRAMES = {7: 4, 14: 8, 16: 8, 64: 8, 128: 16, 224: 16, 256: 16}


def usual_sizes(wanted: Need) -> tuple[int, ...]:
    """Heights and widths to try, the likeliest first: of images, or of maps within a model."""
    return _IMAGE_SIZES if wanted.channels <= 4 and wanted.axis == 1 else _MAP_SIZES


def tensor_for(wanted: Need, rank: int, size: int) -> Spec:
    """A tensor of a rank that has what a layer needs."""
    if wanted.high:
        return Spec((1, 16)[:rank], "int", wanted.high)
    middle: tuple[int, ...] = (size,) * (rank - 2)
    if rank == 3:
        middle = (size * size if size <= 16 else size,)
    if rank == 5 and wanted.axis == 1:
        middle = (_FRAMES.get(size, 8), size, size)
    if wanted.axis == 1:
        return Spec((1, wanted.channels, *middle))
    return Spec((1, *middle, wanted.channels))


def halved(spec: Spec, times: int) -> Spec:
    """A map further down a pyramid."""
    if len(spec.shape) < 4:
        return spec
    return replace(
        spec, shape=(*spec.shape[:2], *(max(1, size >> times) for size in spec.shape[2:]))
    )
