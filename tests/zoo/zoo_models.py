"""Small models that are run, not only built: name, arguments, shape of the input."""

from __future__ import annotations

from typing import Any

Model = tuple[str, dict[str, Any], tuple[int, ...]]

IMAGES = (2, 3, 64, 64)
CLIPS = (2, 3, 4, 32, 32)

TORCHVISION: list[Model] = [
    ("resnet18", {}, IMAGES),
    ("resnext50_32x4d", {}, IMAGES),
    ("mobilenet_v2", {}, IMAGES),
    ("mobilenet_v3_small", {}, IMAGES),
    ("efficientnet_b0", {}, IMAGES),
    ("efficientnet_v2_s", {}, IMAGES),
    ("densenet121", {}, IMAGES),
    ("googlenet", {"init_weights": False}, IMAGES),
    ("inception_v3", {"init_weights": False, "aux_logits": False}, (2, 3, 96, 96)),
    ("shufflenet_v2_x0_5", {}, IMAGES),
    ("mnasnet0_5", {}, IMAGES),
    ("regnet_x_400mf", {}, IMAGES),
    ("regnet_y_400mf", {}, IMAGES),
    ("r3d_18", {}, CLIPS),
    ("mc3_18", {}, CLIPS),
    ("r2plus1d_18", {}, CLIPS),
    ("lraspp_mobilenet_v3_large", {}, IMAGES),
    ("deeplabv3_mobilenet_v3_large", {}, IMAGES),
    ("fcn_resnet50", {}, IMAGES),
    ("quantized_mobilenet_v2", {}, IMAGES),
    ("quantized_resnet18", {}, IMAGES),
    ("quantized_shufflenet_v2_x0_5", {}, IMAGES),
]

TIMM: list[Model] = [
    (name, {}, IMAGES)
    for name in (
        "cs3darknet_s",
        "dla46_c",
        "dpn48b",
        "ese_vovnet19b_dw",
        "fasternet_t0",
        "gernet_s",
        "ghostnet_050",
        "hrnet_w18_small",
        "lcnet_035",
        "mobilenetv3_small_050",
        "mobilevit_xxs",
        "regnetx_002",
        "resnest14d",
        "resnet10t",
        "selecsls42",
        "skresnet18",
        "starnet_s1",
        "test_byobnet",
        "test_efficientnet",
        "test_resnet",
        "tinynet_e",
    )
]

BY_PACKAGE = {"torchvision": TORCHVISION, "timm": TIMM}
