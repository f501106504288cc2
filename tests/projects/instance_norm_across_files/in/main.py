from net import make
from norms import Norm, Scaled
from torch import nn


def modules():
    return [
        Norm(8),
        Norm(8, track_running_stats=True),
        Norm(8, 1e-5, 0.1, True, True),
        Scaled(8, track_running_stats=True),
        make(nn.InstanceNorm2d),
    ]
