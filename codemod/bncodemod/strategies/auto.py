"""``auto``"""

from bncodemod.strategies.no_running_stats import NoRunningStats


class Auto(NoRunningStats):
    """TODO"""

    name = "auto"
