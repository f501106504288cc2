from heirs import Keyword, Positional
from make import Maker, make, through
from torch import nn


def local(norm, *args):
    return norm(*args)


def modules():
    return [
        make(nn.BatchNorm2d, 4),
        make(nn.BatchNorm2d, 5, 1e-5, 0.1, True, True),
        through(nn.BatchNorm2d, 6, 1e-5),
        through(nn.BatchNorm2d, 7, 1e-5, 0.1, True, True),
        Maker(nn.BatchNorm2d, 8, 1e-5).made,
        Maker(nn.BatchNorm2d, 9, 1e-5, 0.1, True, True).made,
        Positional(11),
        Keyword(12),
        local(nn.BatchNorm2d, 10, 1e-5, 0.1, True, True),
    ]
