def make(norm, *args):
    return norm(*args)


def through(norm, *args):
    return make(norm, *args)


class Maker:
    def __init__(self, norm, c, *args):
        self.made = norm(c, *args)
