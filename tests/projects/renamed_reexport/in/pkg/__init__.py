from .ops import BN as Norm
