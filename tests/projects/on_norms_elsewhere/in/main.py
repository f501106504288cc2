from derived import Functional, Resetting
from norms import Own
from reads import asked


def modules():
    return [Functional(8), Resetting(8), Own(8), Own(8).twin(), asked(Own(8))]
