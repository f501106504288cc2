from functools import partial

from torch import nn

from builder import build
from net import Net


def modules():
    options = dict(channels=8, norm_layer=partial(nn.BatchNorm2d, eps=1e-3))
    return [build(Net, **options)]
