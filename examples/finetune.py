"""Models from torchvision: built from scratch, pretrained, and without a norm_layer parameter."""

import torch.nn as nn
from torchvision import models
from torchvision.ops import Conv2dNormActivation

BUILDERS = {
    "resnet18": models.resnet18,
    "resnet50": models.resnet50,
}


def build_backbone(num_classes=10):
    """Norms of torchvision's own choice, trained from scratch."""
    return models.resnet18(num_classes=num_classes)


def build_mobile(num_classes=10):
    """Its norms have an eps and a momentum of their own."""
    return models.mobilenet_v3_small(num_classes=num_classes, dropout=0.0)


def build_sync(num_classes=10):
    return models.resnet34(num_classes=num_classes, norm_layer=nn.SyncBatchNorm)


def build_group(num_classes=10):
    """A mistake that only shows when it is called: GroupNorm wants two arguments."""
    return models.resnet18(num_classes=num_classes, norm_layer=nn.GroupNorm)


def build_pretrained(num_classes=10):
    """The checkpoint holds running statistics and is loaded strictly."""
    net = models.resnet18(weights="DEFAULT")
    net.fc = nn.Linear(net.fc.in_features, num_classes)
    return net


def build_vgg(num_classes=10):
    """There is no norm_layer to give."""
    return models.vgg11_bn(num_classes=num_classes)


def build_by_name(arch, num_classes=10):
    return models.__dict__[arch](num_classes=num_classes)


class Head(nn.Module):
    """Convolution, norm and activation in one: the norm is a BatchNorm2d nobody wrote down."""

    def __init__(self, channels=64, num_classes=10):
        super().__init__()
        self.mix = Conv2dNormActivation(channels, 2 * channels, kernel_size=1)
        self.fc = nn.Linear(2 * channels, num_classes)

    def forward(self, x):
        return self.fc(self.mix(x).mean((2, 3)))
