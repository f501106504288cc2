from flat import Flat


class Flatter(Flat):
    def __init__(self, c):
        super().__init__(c, eps=1e-3)


class Same(Flat):
    pass
