import torch
from norms import Named, Plain, Renamed
from torch import nn


class Handing(Named):
    def __init__(self, c, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True):
        super().__init__(c, eps, momentum, affine, track_running_stats)


class Insisting(Named):
    def __init__(self, c):
        Named.__init__(self, c, track_running_stats=True)


class Bare(Handing):
    pass


class Over(Renamed):
    def __init__(self, c):
        super(Renamed, self).__init__(c)


class Past(Renamed):
    def __init__(self, c):
        nn.BatchNorm2d.__init__(self, c)


class Tracking(Plain):
    def __init__(self, c):
        super().__init__(c)
        self.track_running_stats = True
        self.running_mean = torch.zeros(c)
        self.running_var = torch.ones(c)
