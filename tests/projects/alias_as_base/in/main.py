from a import Norm
from b import Plain, Sized


def modules():
    return [Sized(8), Plain(8), Norm(8)]
