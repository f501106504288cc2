from dataclasses import dataclass

from mixins import Named, Picky, Strict, Typed
from torch import nn


class Plain(Named, nn.BatchNorm2d):
    pass


class Mixed(Strict, nn.BatchNorm2d):
    pass


class Joined(nn.BatchNorm2d):
    """Mixed with ``Strict`` in another file."""


class OfMeta(nn.BatchNorm2d, metaclass=Picky):
    pass


class OfType(nn.BatchNorm2d, Typed[int]):
    pass


@dataclass(eq=False)
class Fields(nn.BatchNorm2d):
    width: int

    def __post_init__(self):
        super().__init__(self.width)


class Maker(nn.BatchNorm2d):
    @classmethod
    def make(cls, width):
        return cls(width)


class Wide(nn.BatchNorm2d):
    def __init__(self, width):
        super().__init__(2 * width)


class Patched(nn.BatchNorm2d):
    pass


def patched_init(self, width):
    nn.BatchNorm2d.__init__(self, width)


Patched.__init__ = patched_init
