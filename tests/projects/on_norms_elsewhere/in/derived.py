import torch.nn.functional as F
from norms import Base, Own
from torch import nn


class Functional(Base):
    def forward(self, x):
        if self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, training=True)
        return super().forward(x)


class Resetting(Base):
    def restart(self):
        self.reset_running_stats()


class Skipping(Own):
    """Leaves ``Own.__init__`` out; not built here, as it fails on a GroupNorm."""

    def __init__(self, width):
        nn.BatchNorm2d.__init__(self, width)
