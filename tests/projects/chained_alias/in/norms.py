from torch import nn

BatchNorm = BN = nn.BatchNorm2d
