from functools import partial

from act import BatchNormAct
from torch import nn


class Wide(BatchNormAct):
    pass


def modules():
    norm = partial(BatchNormAct, act=nn.GELU)
    return [
        BatchNormAct(4),
        norm(5),
        Wide(6),
        BatchNormAct(7, track_running_stats=True),
        BatchNormAct(8, 1e-5, 0.1, True, True),
    ]
