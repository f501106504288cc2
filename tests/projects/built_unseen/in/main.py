import derived
import norms
from norms import Base
from registry import REGISTRY


def modules():
    found = [REGISTRY["Registered"], *Base.__subclasses__(), getattr(norms, "By" + "Name")]
    return [derived.__name__, Base(8), *(cls(8) for cls in found)]
