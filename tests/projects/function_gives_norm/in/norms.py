from torch import nn


def get_norm(name):
    return {"bn": nn.BatchNorm2d, "in": nn.InstanceNorm2d}[name]


def get_class(name):
    if name == "bn":
        return nn.BatchNorm1d
    return nn.LayerNorm
