from torch import nn


class Base(nn.Module):
    def __init__(self, c, norm):
        super().__init__()
        self.norm = norm(c)
        assert isinstance(self.norm, norm)


class Block(Base):
    pass


def plain(c, **kwargs):
    return inner(c, **kwargs)


def inner(c, norm_layer=None):
    return norm_layer(c)
