from torch import nn


class BatchNorm2d(nn.BatchNorm2d):
    pass


LAYERS = {"BN": BatchNorm2d, "GN": lambda c: nn.GroupNorm(1, c)}
