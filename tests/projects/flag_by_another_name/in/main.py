from functools import partial

from heirs import Bare, Handing, Insisting, Over
from norms import Named, Renamed


def modules():
    return [
        Renamed(4, 1e-3, True),
        Renamed(5, track=True),
        partial(Renamed, track=True)(6),
        partial(Named, track_running_stats=True)(7),
        Named(8, 1e-5, 0.1, True, True),
        Handing(9),
        Handing(10, 1e-5, 0.1, True, True),
        Insisting(11),
        Bare(12, 1e-5, 0.1, True, True),
        Over(13),
    ]
