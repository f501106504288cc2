from pick import first
from torch import nn

Norm = first(nn.BatchNorm2d)


def modules():
    m = Norm(4)
    assert isinstance(m, Norm)
    return [m]
