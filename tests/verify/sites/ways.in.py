"""Norms made in every way that a rewrite knows."""

from functools import partial

import torch.nn as nn
from torchvision import models


class Flat(nn.BatchNorm1d):
    def __init__(self, features):
        super().__init__(features, eps=1e-3)


class Act(nn.BatchNorm2d):
    def __init__(self, c, track_running_stats=True):
        super().__init__(c, track_running_stats=track_running_stats)


class NoInit(nn.BatchNorm2d):
    pass


TABLE = {"bn": nn.BatchNorm2d, "gn": partial(nn.GroupNorm, 4), "cfg": dict(type="BN")}


class Net(nn.Module):
    norm_layer: type[nn.GroupNorm] = nn.BatchNorm2d

    def __init__(self, c, norm=nn.BatchNorm2d, model=models.resnet18()):
        super().__init__()
        if issubclass(norm, (nn.BatchNorm2d, nn.GroupNorm)):
            c = 2 * c
        self.first = NoInit(c)
        self.bn: nn.BatchNorm2d = nn.BatchNorm2d(
            c,
            momentum=0.2,
        )
        self.groups = nn.Sequential(
            nn.GroupNorm(2, c), nn.BatchNorm2d(c, track_running_stats=False)
        )

    def late(self, kind):
        def inner(c):
            return getattr(nn, f"BatchNorm{kind}d")(c)

        self.norm = partial(nn.BatchNorm2d, eps=1e-3)
        return inner, nn.BatchNorm2d(8)  # bncodemod: ignore
