from conv import ConvNormAct
from torch import nn


class Block(nn.Module):
    def __init__(self, c, norm_layer=nn.BatchNorm2d):
        super().__init__()
        conv_kwargs = dict(norm_layer=norm_layer)
        self.one = ConvNormAct(c, **conv_kwargs)
        self.two = ConvNormAct(c, bias=False)


def modules():
    return [Block(4)]
