"""What a project builds around batch norm: subclasses, wrappers, configurations, hazards."""

import torch
import torch.nn as nn
import torch.nn.functional as F

norm_cfg = dict(type="BN", requires_grad=True)


class FlatBatchNorm(nn.BatchNorm1d):
    """Normalises the last axis, whatever comes before it."""

    def forward(self, x):
        return super().forward(x.flatten(0, -2)).view(x.shape)


class BatchNormAct(nn.BatchNorm2d):
    """Batch norm and its activation in one layer."""

    def __init__(self, num_features, eps=1e-5, act=nn.ReLU):
        super().__init__(num_features, eps=eps)
        self.act = act()

    def forward(self, x):
        return self.act(super().forward(x))


class GhostBatchNorm(nn.Module):
    """Keeps its buffers itself."""

    def __init__(self, num_features, splits=2):
        super().__init__()
        self.splits = splits
        self.register_buffer("running_mean", torch.zeros(num_features * splits))
        self.register_buffer("running_var", torch.ones(num_features * splits))

    def forward(self, x):
        n, c, h, w = x.shape
        out = F.batch_norm(
            x.view(-1, c * self.splits, h, w), self.running_mean, self.running_var, training=self.training
        )
        return out.view(n, c, h, w)


def norm_of(dim, channels, **options):
    """The norm for inputs of so many dimensions."""
    return getattr(nn, f"BatchNorm{dim}d")(channels, **options)


def weight_standardised(conv, x):
    """No buffers here: nothing to rewrite."""
    w = F.batch_norm(conv.weight.flatten(1)[None], None, None, training=True)
    return F.conv2d(x, w.view_as(conv.weight), conv.bias)


def freeze_bn(model):
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.eval()


def fuse_conv_bn(conv, bn):
    """Fold a batch norm's statistics into the convolution before it."""
    scale = bn.weight / torch.sqrt(bn.running_var + bn.eps)
    conv.weight.data *= scale[:, None, None, None]
    conv.bias = nn.Parameter(bn.bias - bn.running_mean * scale)
    return conv
