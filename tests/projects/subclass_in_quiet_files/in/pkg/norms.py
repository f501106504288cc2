"""The project's norms."""

from torch import nn


class Scaled(nn.BatchNorm2d):
    """Built where it is used."""
