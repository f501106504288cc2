from torch import nn

BatchNorm = nn.BatchNorm2d
