from norms import LAYERS, BatchNorm2d


class Derived(BatchNorm2d):
    pass


def modules():
    return [LAYERS["BN"](4), LAYERS["GN"](5), Derived(6)]
