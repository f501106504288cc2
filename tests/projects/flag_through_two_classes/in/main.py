from b import B


def modules():
    return [B(8), B(8, 1e-5, 0.1, True, True)]
