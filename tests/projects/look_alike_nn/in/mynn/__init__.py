from torch.nn import GroupNorm


def BatchNorm2d(c):
    return GroupNorm(1, c)
