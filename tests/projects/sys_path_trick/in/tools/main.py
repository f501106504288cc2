import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from norms import BN


def modules():
    return [BN(4)]
