from .shifted import Alias


class Sized(Alias):
    """Sees to its base by itself."""

    def __init__(self, channels, extra=1):
        super().__init__(channels)
        self.extra = extra
