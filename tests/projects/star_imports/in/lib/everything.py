from .torch_names import *
