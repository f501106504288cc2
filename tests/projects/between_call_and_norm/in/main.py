from mixins import Strict
from norms import Fields, Joined, Maker, Mixed, OfMeta, OfType, Patched, Plain, Wide


class Both(Strict, Joined):
    pass


class Made(Maker):
    def __init__(self, width):
        super().__init__(width)


class Skipping(Wide):
    def __init__(self, width):
        super(Wide, self).__init__(width)


def modules():
    return [
        Plain(8),
        Mixed(8, 1e-3),
        Joined(8),
        Both(8),
        OfMeta(8),
        OfType(8),
        Fields(8),
        Maker.make(8),
        Made.make(8),
        Skipping(8),
        Patched(8),
    ]
