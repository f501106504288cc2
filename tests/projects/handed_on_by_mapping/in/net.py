from torch import nn

from layers import with_activation


class Net(nn.Module):
    def __init__(self, channels, norm_layer=None):
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3)
        self.bn = with_activation(norm_layer)(channels, inplace=True)

    def forward(self, x):
        return self.bn(self.conv(x))
