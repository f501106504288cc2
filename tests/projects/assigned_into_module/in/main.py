import layers
from torch import nn

layers.BN = nn.BatchNorm2d


def modules():
    return [layers.block(4), layers.BN(5)]
