from . import Norm
from .ops import BN


def build(c):
    return [Norm(c), BN(c, 1e-3)]
