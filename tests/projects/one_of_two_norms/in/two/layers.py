from torch import nn

BN = nn.Identity
