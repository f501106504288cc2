from typing import Generic, TypeVar

T = TypeVar("T")


class Strict:
    """Takes no flag, and hands none on."""

    def __init__(self, num_features, eps=1e-5):
        super().__init__(num_features, eps=eps)


class Named:
    """Has no say in how a class is built."""

    def label(self):
        return type(self).__name__


class Picky(type):
    def __call__(cls, num_features):
        return super().__call__(num_features)


class Typed(Generic[T]):
    pass
