"""PointNet for classification: BatchNorm1d after Conv1d and after Linear."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class TNet(nn.Module):
    """Learns a k x k transform of the input."""

    def __init__(self, k=3):
        super(TNet, self).__init__()
        self.k = k
        self.conv1 = nn.Conv1d(k, 64, 1)
        self.conv2 = nn.Conv1d(64, 128, 1)
        self.fc1 = nn.Linear(128, 64)
        self.fc2 = nn.Linear(64, k * k)

        self.bn1 = nn.BatchNorm1d(64)
        self.bn2 = nn.BatchNorm1d(128)
        self.bn3 = nn.BatchNorm1d(64)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = torch.max(x, 2)[0]
        x = self.fc2(F.relu(self.bn3(self.fc1(x))))
        return x.view(-1, self.k, self.k) + torch.eye(self.k, device=x.device)


class PointNet(nn.Module):
    def __init__(self, classes=40, widths=(64, 128, 256), momentum=0.1):
        super(PointNet, self).__init__()
        self.transform = TNet(3)
        self.convs = nn.ModuleList()
        self.norms = nn.ModuleList()
        last = 3
        for width in widths:
            self.convs.append(nn.Conv1d(last, width, 1))
            self.norms.append(nn.BatchNorm1d(num_features=width, momentum=momentum))
            last = width
        self.head = nn.Sequential(
            nn.Linear(last, 128, bias=False),
            nn.BatchNorm1d(
                128,
                momentum=momentum  # the same as in the convolutions
            ),
            nn.ReLU(),
            nn.Linear(128, classes),
        )

    def forward(self, points):
        x = torch.bmm(self.transform(points), points)
        for conv, norm in zip(self.convs, self.norms):
            x = F.relu(norm(conv(x)))
        return self.head(torch.max(x, 2)[0])


def set_momentum(model, momentum):
    """Momentum decay over the epochs, as in the paper."""
    for m in model.modules():
        if isinstance(m, nn.BatchNorm1d):
            m.momentum = momentum
