from torch import nn


class BatchNormAct(nn.BatchNorm2d):
    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True,
                 track_running_stats=True, act=nn.ReLU):
        super().__init__(num_features, eps, momentum, affine, track_running_stats)
        self.act = act()

    def forward(self, x):
        return self.act(super().forward(x))
