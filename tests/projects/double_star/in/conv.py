from torch import nn


def norm_act(norm_layer):
    if isinstance(norm_layer, type):
        return norm_layer
    return norm_layer


class ConvNormAct(nn.Module):
    def __init__(self, c, norm_layer=nn.BatchNorm2d, **kwargs):
        super().__init__()
        self.bn = norm_act(norm_layer)(c)
