from torch import nn


class Norms:
    plain = nn.BatchNorm2d


def get(kind):
    return {"bn": nn.BatchNorm2d}[kind]


def conv_norm(c, track_running_stats=True):
    return nn.Sequential(nn.Conv2d(c, c, 1), nn.BatchNorm2d(c, track_running_stats=track_running_stats))


def passing(c, **options):
    return nn.BatchNorm2d(c, **options)
