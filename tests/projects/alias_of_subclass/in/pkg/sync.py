from torch import nn


class InRepoSyncBatchNorm(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x)
