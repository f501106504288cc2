"""U-Net, with the norm chosen by name from a table."""

import functools

import torch
from torch import nn

BatchNorm = nn.BatchNorm2d

NORMS = {
    "batch": nn.BatchNorm2d,
    "instance": nn.InstanceNorm2d,
    "group": lambda channels: nn.GroupNorm(8, channels),
}


def get_norm_layer(norm_type="batch"):
    """A function of the number of channels."""
    if norm_type == "batch":
        return functools.partial(nn.BatchNorm2d, affine=True, track_running_stats=True)
    if norm_type == "instance":
        return functools.partial(nn.InstanceNorm2d, affine=False, track_running_stats=True)
    return NORMS[norm_type]


class DoubleConv(nn.Module):
    """(convolution => norm => ReLU) * 2"""

    def __init__(self, in_channels, out_channels, norm="batch"):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False), NORMS[norm](out_channels), nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False), NORMS[norm](out_channels), nn.ReLU()
        )

    def forward(self, x):
        return self.body(x)


class Up(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, in_channels // 2, 2, stride=2)
        self.norm = BatchNorm(in_channels // 2)
        self.conv = DoubleConv(in_channels, out_channels)

    def forward(self, x, skip):
        return self.conv(torch.cat([skip, self.norm(self.up(x))], dim=1))


class UNet(nn.Module):
    def __init__(self, n_channels=3, n_classes=2, width=16, norm_type="batch"):
        super().__init__()
        norm_layer = get_norm_layer(norm_type)
        self.stem = nn.Sequential(nn.Conv2d(n_channels, width, 3, padding=1), norm_layer(width))
        self.inc = DoubleConv(width, width)
        self.down1 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(width, width * 2))
        self.down2 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(width * 2, width * 4))
        self.up1 = Up(width * 4, width * 2)
        self.up2 = Up(width * 2, width)
        self.outc = nn.Conv2d(width, n_classes, 1)

    def forward(self, x):
        x1 = self.inc(self.stem(x))
        x2 = self.down1(x1)
        x = self.up1(self.down2(x2), x2)
        return self.outc(self.up2(x, x1))
