from pkg.a import make


def modules():
    return [make(4)]
