from subclasses import Filled, Short


class Positional(Filled):
    def __init__(self, c):
        super().__init__(c, 1e-5, 0.1, True, True)


class Keyword(Short):
    def __init__(self, c):
        super().__init__(c, 1e-5, track_running_stats=True)
