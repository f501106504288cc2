import torch.nn as nn

BatchNorm = nn.BatchNorm2d
