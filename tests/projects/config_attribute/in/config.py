from torch import nn


class Config:
    pass


cfg = Config()
cfg.norm = nn.BatchNorm2d
