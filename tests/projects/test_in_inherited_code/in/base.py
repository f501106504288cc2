import inspect

from torch import nn


class Builder:
    kind = None

    def build(self, norm, width):
        return norm(width) if issubclass(norm, nn.Module) else None

    def of_kind(self, width):
        class Mine(self.kind):
            pass

        return Mine(width)

    def of_field(self, width):
        return self.field(width) if inspect.isclass(self.field) else None


class Net(nn.Module):
    def __init__(self, norm_layer):
        super().__init__()
        assert isinstance(norm_layer, type)
        self.norm = norm_layer(8)
