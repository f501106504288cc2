from torch import nn


class Base(nn.BatchNorm2d):
    pass


class Own(nn.BatchNorm2d):
    def __init__(self, width):
        super().__init__(width, 1e-3)

    def twin(self):
        return type(self)(self.num_features)
