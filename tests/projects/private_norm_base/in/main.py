from norms import Frozen


def modules():
    return [Frozen(8)]
