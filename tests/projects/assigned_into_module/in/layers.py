BN = None


def block(c):
    return BN(c)
