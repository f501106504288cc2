from .norms import Norm


def is_norm(m):
    return isinstance(m, Norm)
