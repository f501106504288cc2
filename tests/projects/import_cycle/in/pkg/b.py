from . import a


def make(c):
    return a.Norm(c)
