from base import Net


class Wider(Net):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
