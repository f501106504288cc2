from . import norms
from .norms import Scaled as Norm
