from torch import nn

BN = nn.BatchNorm2d
