from base import Builder
from nets import Wider
from torch import nn


class Mine(Builder):
    kind = nn.BatchNorm2d

    def __init__(self):
        self.field = nn.BatchNorm2d

    def go(self):
        return self.build(nn.BatchNorm2d, 8)


builder = Builder()
kinds = {nn.Conv2d: "conv"}
BN = nn.BatchNorm2d
kinds[BN] = "norm"


def wider(**kwargs):
    return Wider(**kwargs)


def modules():
    mine = Mine()
    return [
        builder.build(nn.BatchNorm2d, 8),
        mine.go(),
        mine.of_kind(8),
        mine.of_field(8),
        Wider(norm_layer=nn.BatchNorm2d),
        wider(norm_layer=nn.BatchNorm2d),
        kinds[BN],
    ]
