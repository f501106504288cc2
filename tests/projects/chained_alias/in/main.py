from norms import BN, BatchNorm


def modules():
    found = [BN(4)]
    return [m for m in found if isinstance(m, BatchNorm) or m.weight is not None]
