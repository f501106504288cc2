from norms import Making, build, copy, twin
from torch import nn


class Heir(Making):
    def __init__(self, c):
        super().__init__(c)


def modules():
    plain = nn.BatchNorm2d(8)
    if not isinstance(plain, nn.BatchNorm2d):
        return [build("Named", 4), Making.make(5), Heir.make(6), plain, plain, plain]
    return [build("Named", 4), Making.make(5), Heir.make(6), plain, twin(plain), copy(plain)]
