from torch import nn

Norm = nn.BatchNorm2d
