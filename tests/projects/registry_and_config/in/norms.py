from registry import NORMS
from torch import nn

NORMS.register_module("BN", module=nn.BatchNorm2d)
