"""Makes a norm with an activation of the norm that it is given, by its name."""

from functools import partial

from torch import nn


class NormAct(nn.Module):
    def __init__(self, norm, channels, inplace):
        super().__init__()
        self.norm = norm(channels)
        self.act = nn.ReLU(inplace=inplace)

    def forward(self, x):
        return self.act(self.norm(x))


def with_activation(norm):
    keywords = {}
    if isinstance(norm, partial):
        norm, keywords = norm.func, norm.keywords
    if norm.__name__.startswith("BatchNorm"):
        return partial(NormAct, partial(norm, **keywords))
    return norm
