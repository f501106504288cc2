import functools

import flat
from derived import Flatter, Same
from flat import Flat as F


def modules():
    make = functools.partial(flat.Flat, eps=1e-3)
    return [F(4), flat.Flat(5, track_running_stats=True), Flatter(6), Same(7), make(8)]
