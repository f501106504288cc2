"""What torch's own layers need of their input: its rank, its channels, and where these stand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd


@dataclass(frozen=True, slots=True)
class Need:
    """``channels`` at ``axis`` of a tensor with one of the ``ranks``; ``high`` for integers."""

    channels: int
    ranks: tuple[int, ...]
    axis: int = 1
    high: int = 0


_ANY = 3  # channels for a lazy layer, which takes what it is given first
_CONVOLUTIONS: tuple[tuple[type, int], ...] = (
    (nn.Conv1d, 3),
    (nn.Conv2d, 4),
    (nn.Conv3d, 5),
    (nn.ConvTranspose1d, 3),
    (nn.ConvTranspose2d, 4),
    (nn.ConvTranspose3d, 5),
)
_NORMS: tuple[tuple[type, tuple[int, ...]], ...] = (
    (nn.BatchNorm1d, (2, 3)),
    (nn.BatchNorm2d, (4,)),
    (nn.BatchNorm3d, (5,)),
    (nn.InstanceNorm1d, (3,)),
    (nn.InstanceNorm2d, (4,)),
    (nn.InstanceNorm3d, (5,)),
    (_BatchNorm, (4, 2)),
)


def need(layer: nn.Module) -> Need | None:
    """What one layer needs; None where it says nothing, as an activation."""
    for kind, rank in _CONVOLUTIONS:
        if isinstance(layer, kind) and isinstance(layer, _ConvNd):
            return Need(layer.in_channels or _ANY, (rank,))
    for kind, ranks in _NORMS:
        if isinstance(layer, kind):
            return Need(int(layer.num_features) or _ANY, ranks)  # type: ignore[arg-type]
    if isinstance(layer, nn.GroupNorm):
        return Need(layer.num_channels, (4, 3, 2, 5))
    if isinstance(layer, nn.Linear):
        return Need(layer.in_features or _ANY, (2, 3, 4), axis=-1)
    if isinstance(layer, nn.LayerNorm):
        return Need(int(layer.normalized_shape[-1]), (3, 2, 4), axis=-1)
    if isinstance(layer, nn.Embedding | nn.EmbeddingBag):
        return Need(0, (2, 1), high=layer.num_embeddings)
    if isinstance(layer, nn.RNNBase):
        return Need(layer.input_size, (3,), axis=-1)
    if isinstance(layer, nn.RNNCellBase):
        return Need(layer.input_size, (2,), axis=-1)
    if isinstance(layer, nn.MultiheadAttention):
        return Need(layer.embed_dim, (3,), axis=-1)
    return None


def needs(module: nn.Module) -> Iterator[Need]:
    """The needs of a module's layers, in the order in which it holds them."""
    for layer in module.modules():
        if (found := need(layer)) is not None:
            yield found
