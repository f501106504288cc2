"""Names that an if or a try decides about."""

import os

from pkg.net import make

try:
    from fast_norms import Scaled as Fast
except ImportError:
    from norms import Scaled as Fast

try:
    import fast_norms as n
except ImportError:
    import norms as n

from norms import Scaled

if os.environ.get("OTHER_NORM"):
    from norms import Other as Scaled


def modules():
    return [make(), Fast(8), n.Scaled(8), Scaled(8)]
