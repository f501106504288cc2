import torch
import torch.nn as nn
from torch.nn import BatchNorm1d as Norm1d

__all__ = ["nn", "torch", "Norm1d"]
