from torch import nn


class Renamed(nn.BatchNorm2d):
    def __init__(self, c, eps=1e-5, track=True):
        super().__init__(c, eps, 0.1, True, track)


class Named(nn.BatchNorm2d):
    def __init__(self, c, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True):
        super().__init__(c, eps, momentum, affine, track_running_stats)


class Plain(nn.BatchNorm2d):
    pass
