from make import make
from torch import nn


def modules():
    return [make(4, nn.BatchNorm2d)]
