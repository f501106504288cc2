"""MAML on toy tasks: one inner step for every task at once, with vmap.

Fails as it stands: batch norm updates its running statistics in place.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.func import functional_call, grad, vmap


def conv_block(in_channels, out_channels):
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1),
        nn.BatchNorm2d(out_channels, momentum=1.0, track_running_stats=True),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )


def build_net(ways=5, width=32):
    """The four-block network of the few-shot papers, for 28x28 images."""
    return nn.Sequential(
        conv_block(1, width),
        conv_block(width, width),
        conv_block(width, width),
        nn.Flatten(),
        nn.Linear(width * 9, ways),
    )


def meta_loss(net, images, labels, queries, targets, lr=0.1):
    """Mean loss of the queries, one gradient step after the support images of each task."""
    params = dict(net.named_parameters())

    def loss(p, x, y):
        return F.cross_entropy(functional_call(net, p, (x,)), y)

    def task(x, y, xq, yq):
        step = grad(loss)(params, x, y)
        adapted = {k: p - lr * step[k] for k, p in params.items()}
        return loss(adapted, xq, yq)

    return vmap(task)(images, labels, queries, targets).mean()


if __name__ == "__main__":
    tasks, shots, ways = 4, 10, 5
    images = torch.randn(2, tasks, shots, 1, 28, 28)
    labels = torch.randint(0, ways, (2, tasks, shots))
    net = build_net(ways)
    value = meta_loss(net, images[0], labels[0], images[1], labels[1])
    value.backward()
    print(f"meta loss {value.item():.3f}")
