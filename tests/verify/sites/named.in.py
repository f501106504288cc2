"""Norms that a string or a configuration names."""

import timm
from monai.networks.blocks import Convolution
from monai.networks.nets import UNet
from timm.layers import create_norm_layer

norm_cfg = dict(type="BN", requires_grad=True)
neck = dict(type="FPN", norm_cfg={"type": "SyncBN", "eps": 1e-3})
grouped = dict(type="GN", num_groups=8)
one = create_norm_layer("batchnorm2d", 64)
two = create_norm_layer("groupnorm", 64, num_groups=4)
block = Convolution(2, 4, 8, norm="batch")
other = Convolution(2, 4, 8, norm=("group", {"num_groups": 2}))
unet = UNet(2, 1, 2, (16, 32, 64), (2, 2), norm=("batch", {"eps": 1e-3}))
model = timm.create_model("resnet18", norm_layer="groupnorm")
other_things = ("group", {"colour": 1}), dict(type="GN"), "groupnorm"
