from ns.inner import norms
from ns.inner.use import is_norm


def modules():
    found = [norms.Norm(4)]
    assert all(map(is_norm, found))
    return found
