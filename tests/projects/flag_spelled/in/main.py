from functools import partial

import layers
from norms import Norms, conv_norm, get, passing
from options import CALLED, OFF, OPTIONS
from torch import nn


class Own(layers.Layer):
    norm = nn.BatchNorm2d


def modules():
    return [
        get("bn")(4, track_running_stats=True),
        get("bn")(5, track_running_stats=False),
        Norms.plain(6, track_running_stats=True),
        partial(get("bn"), track_running_stats=True)(7),
        get("bn")(8, **OPTIONS),
        get("bn")(9, **CALLED),
        get("bn")(10, **OFF),
        conv_norm(11, track_running_stats=True),
        passing(12, track_running_stats=True),
        Own().make(),
        layers.build(get("bn"), 13),
    ]
