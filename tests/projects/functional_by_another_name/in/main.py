"""batch_norm by names that say nothing of it."""

import ops
import torch
from ops import G, norm
from torch import nn


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(8))
        self.register_buffer("variance", torch.ones(8))

    def forward(self, x):
        a = G.batch_norm(x, self.running_mean, self.variance, training=True)
        b = ops.F.batch_norm(a, self.running_mean, self.variance, training=True)
        return norm(b, self.running_mean, self.variance, training=True)


def modules():
    return [Norm()]
