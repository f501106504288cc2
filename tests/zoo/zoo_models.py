"""Tables of models: smp's encoders, MONAI's networks, and the small models that are run.

A model that is run, not only built, has a name, keyword arguments and the shape of its input.
"""

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


# --- segmentation-models-pytorch ----------------------------------------------------------------

# Written out in smp itself, subclassed from torchvision or timm, or made by timm.create_model.
SMP_ENCODERS = (
    "resnet18",
    "vgg11_bn",
    "densenet121",
    "mobilenet_v2",
    "efficientnet-b0",
    "se_resnet50",
    "dpn68",
    "inceptionv4",
    "inceptionresnetv2",
    "xception",
    "mobileone_s0",
    "mit_b0",
    "timm-efficientnet-b0",
    "timm-skresnet18",
    "timm-regnetx_002",
    "tu-resnet18",
    "tu-mobilenetv3_small_050",
    "tu-vit_tiny_patch16_224",
)


_NOT_DILATED = ("vgg11_bn", "densenet121", "inceptionv4", "inceptionresnetv2", "xception")


def smp_goes_together(architecture: str, encoder: str) -> bool:
    """What smp itself allows; a DPT needs a ViT, and others cannot take one."""
    if architecture in ("DeepLabV3", "DeepLabV3Plus", "PAN") and encoder in _NOT_DILATED:
        return False
    if architecture in ("UnetPlusPlus", "Linknet") and encoder == "mit_b0":
        return False
    return ("vit" in encoder) == (architecture == "DPT")


# --- MONAI --------------------------------------------------------------------------------------

# Every class of monai.networks.nets that can hold batch norm, with the arguments that it takes
# to be small: 2D and 3D, as it comes and with norm="batch".
SLICES = (2, 1, 32, 32)
VOLUMES = (2, 1, 32, 32, 32)
_IO = {"in_channels": 1, "out_channels": 2}
_U = {**_IO, "channels": (4, 8, 16), "strides": (2, 2)}
_AUTO = {**_IO, "channels": (4, 8), "strides": (2, 2), "norm": "batch"}
_FEATURES = {"features": (4, 4, 8, 8, 16, 4)}
_DENSE = {**_IO, "init_features": 8, "growth_rate": 4, "block_config": (2, 2)}
_SE = {"in_channels": 1, "num_classes": 3}
_SMALL_SE = {**_SE, "layers": (1, 1, 1, 1)}
_RESNET = {"n_input_channels": 1, "num_classes": 3}
_DYN = {"kernel_size": (3, 3, 3), "strides": (1, 2, 2), "upsample_kernel_size": (2, 2)}
_REG = {"in_channels": 1, "num_channel_initial": 4, "out_channels": 2}
_HYBRID = {"feature_size": 4, "hidden_size": 24, "mlp_dim": 48, "num_heads": 2}
_VOXEL = {
    "in_channels": 2,
    "unet_out_channels": 8,
    "channels": (8, 8, 8, 8),
    "final_conv_channels": (8, 8),
}

_MONAI_BY_DIMENSION: dict[str, tuple[str, dict[str, Any]]] = {
    "UNet-batch": ("UNet", {**_U, "norm": "batch"}),
    "UNet-BATCH-residual": ("UNet", {**_U, "norm": "BATCH", "num_res_units": 2}),
    "UNet-batch-pair": ("UNet", {**_U, "norm": ("batch", {"eps": 1e-3, "momentum": 0.05})}),
    "AttentionUnet": ("AttentionUnet", _U),
    "BasicUNet-batch": ("BasicUNet", {**_IO, **_FEATURES, "norm": "batch"}),
    "BasicUNetPlusPlus-batch": ("BasicUNetPlusPlus", {**_IO, **_FEATURES, "norm": "batch"}),
    "AutoEncoder-batch": ("AutoEncoder", {**_AUTO, "num_res_units": 1}),
    "DenseNet": ("DenseNet", _DENSE),
    "DenseNet-batch-pair": ("DenseNet", {**_DENSE, "norm": ("batch", {"eps": 1e-3})}),
    "DenseNet121": ("DenseNet121", _IO),
    "resnet10": ("resnet10", _RESNET),
    "resnet50": ("resnet50", _RESNET),
    "resnet10-batch-pair": ("resnet10", {**_RESNET, "norm": ("batch", {"eps": 1e-3})}),
    "SENet154": ("SENet154", _SMALL_SE),
    "SEResNet50": ("SEResNet50", _SE),
    "SEResNext50": ("SEResNext50", _SMALL_SE),
    "EfficientNetBN": (
        "EfficientNetBN",
        {"model_name": "efficientnet-b0", "pretrained": False, "in_channels": 1, "num_classes": 3},
    ),
    "EfficientNetBNFeatures": (
        "EfficientNetBNFeatures",
        {"model_name": "efficientnet-b0", "pretrained": False, "in_channels": 1},
    ),
    "FlexibleUNet": ("FlexibleUNet", {**_IO, "backbone": "efficientnet-b0"}),
    "FlexibleUNet-resnet": ("FlexibleUNet", {**_IO, "backbone": "resnet10"}),
    "SegResNet-batch": ("SegResNet", {**_IO, "norm": "batch", "init_filters": 8}),
    "SegResNetDS": ("SegResNetDS", {**_IO, "init_filters": 8, "blocks_down": (1, 1, 1)}),
    "SegResNetDS2": ("SegResNetDS2", {**_IO, "init_filters": 8, "blocks_down": (1, 1, 1)}),
    "HighResNet": ("HighResNet", _IO),
    "VNet": ("VNet", _IO),
    "DynUNet-batch": ("DynUNet", {**_IO, **_DYN, "filters": (4, 8, 16), "norm_name": "batch"}),
    "RegUNet": ("RegUNet", {**_REG, "depth": 2}),
    "LocalNet": ("LocalNet", {**_REG, "extract_levels": (0, 1, 2)}),
    "AHNet": ("AHNet", {**_IO, "layers": (1, 1, 1, 1), "psp_block_num": 2}),
    "PatchDiscriminator": (
        "PatchDiscriminator",
        {"channels": 4, "in_channels": 1, "num_layers_d": 2},
    ),
    "MultiScalePatchDiscriminator": (
        "MultiScalePatchDiscriminator",
        {"num_d": 1, "channels": 4, "in_channels": 1, "num_layers_d": 2, "minimum_size_im": 32},
    ),
}

# Class, arguments, and the shape of its input; None: too large to be run.
MONAI_NETS: dict[str, tuple[str, dict[str, Any], tuple[int, ...] | None]] = {
    f"{name}-{dimensions}d": (
        path,
        {**arguments, "spatial_dims": dimensions},
        SLICES if dimensions == 2 else VOLUMES,
    )
    for name, (path, arguments) in _MONAI_BY_DIMENSION.items()
    for dimensions in (2, 3)
} | {
    "VarAutoEncoder-batch-2d": (
        "VarAutoEncoder",
        {
            "spatial_dims": 2,
            "in_shape": (1, 32, 32),
            "out_channels": 1,
            "latent_size": 2,
            "channels": (4, 8),
            "strides": (2, 2),
            "norm": "batch",
        },
        SLICES,
    ),
    "Regressor-batch-2d": (
        "Regressor",
        {
            "in_shape": (1, 32, 32),
            "out_shape": (2,),
            "channels": (4, 8),
            "strides": (2, 2),
            "norm": "batch",
        },
        SLICES,
    ),
    "Classifier-batch-2d": (
        "Classifier",
        {
            "in_shape": (1, 32, 32),
            "classes": 2,
            "channels": (4, 8),
            "strides": (2, 2),
            "norm": "BATCH",
        },
        SLICES,
    ),
    "Generator-batch-2d": (
        "Generator",
        {
            "latent_shape": (8,),
            "start_shape": (8, 4, 4),
            "channels": (8, 4, 1),
            "strides": (2, 2, 1),
            "norm": "batch",
        },
        (2, 8),
    ),
    "UNETR-batch-3d": (
        "UNETR",
        {**_IO, **_HYBRID, "img_size": 32, "norm_name": "batch"},
        VOLUMES,
    ),
    "SwinUNETR-batch-3d": (
        "SwinUNETR",
        {
            **_IO,
            "feature_size": 12,
            "depths": (1, 1, 1, 1),
            "num_heads": (1, 1, 2, 2),
            "norm_name": "batch",
        },
        VOLUMES,
    ),
    "VoxelMorphUNet-batch-3d": (
        "VoxelMorphUNet",
        {**_VOXEL, "spatial_dims": 3, "norm": "batch"},
        (2, 2, 32, 32, 32),
    ),
    "GlobalNet-2d": (
        "GlobalNet",
        {
            "image_size": [32, 32],
            "spatial_dims": 2,
            "in_channels": 1,
            "num_channel_initial": 4,
            "depth": 2,
        },
        SLICES,
    ),
    "GlobalNet-3d": (
        "GlobalNet",
        {
            "image_size": [32, 32, 32],
            "spatial_dims": 3,
            "in_channels": 1,
            "num_channel_initial": 4,
            "depth": 2,
        },
        VOLUMES,
    ),
    "HoVerNet-fast-2d": ("HoVerNet", {}, None),
    "HoVerNet-original-2d": (
        "HoVerNet",
        {"mode": "original", "out_classes": 3},
        None,
    ),
    "DAF3D-3d": ("DAF3D", _IO, None),
    "TorchVisionFCModel-2d": ("TorchVisionFCModel", {"num_classes": 3}, (2, 3, 224, 224)),
    "MILModel-2d": (
        "MILModel",
        {"num_classes": 3, "pretrained": False, "backbone": "resnet18"},
        (2, 2, 3, 64, 64),
    ),
    "ResNetFeatures-3d": (
        "ResNetFeatures",
        {"model_name": "resnet10", "pretrained": False},
        VOLUMES,
    ),
}

MONAI: list[Model] = [
    (name, {}, shape) for name, (_, _, shape) in MONAI_NETS.items() if shape is not None
]

# All architectures with one encoder, one architecture with all encoders.
SMP: list[Model] = [
    (f"{architecture}/resnet18", {}, (2, 3, 256, 256) if architecture == "PAN" else IMAGES)
    for architecture in (
        "UnetPlusPlus",
        "MAnet",
        "Linknet",
        "FPN",
        "PSPNet",
        "DeepLabV3",
        "DeepLabV3Plus",
        "PAN",
        "UPerNet",
        "Segformer",
    )
] + [(f"Unet/{name}", {}, IMAGES) for name in SMP_ENCODERS if smp_goes_together("Unet", name)]

# The smallest model of a file, at the smallest size that it takes.
PYTORCHCV: list[Model] = [
    (name, {}, (2, 3, *size))
    for size, names in {
        (224, 224): (
            "bam_resnet18",
            "bninception",
            "cbam_resnet18",
            "channelnet",
            "condensenet74_c8_g8",
            "darknet_tiny",
            "darts",
            "densenet121",
            "diapreresnet10",
            "diaresnet10",
            "dla46xc",
            "dpn68",
            "drnd22",
            "espnetv2_wd2",
            "fbnet_cb",
            "fdmobilenet_wd4",
            "fishnet99",
            "ghostnet",
            "hardnet39ds",
            "hrnet_w18_small_v1",
            "ibnb_resnet50",
            "ibn_densenet121",
            "ibn_resnet50",
            "ibn_resnext50_32x4d",
            "igcv3_wd4",
            "menet108_8x1_g3",
            "mixnet_s",
            "mnasnet_small",
            "mobilenet_wd4",
            "fdmobilenet_wd4_cub",
            "mobilenetb_wd4",
            "mobilenetv2b_wd4",
            "mobilenetv3_small_w7d20",
            "msdnet22",
            "octresnet10_ad2",
            "peleenet",
            "preresnet18_wd4",
            "proxylessnas_mobile",
            "proxylessnas_mobile_cub",
            "resnet18_wd4",
            "resnet10_cub",
            "resnext14_32x2d",
            "sepreresnet10",
            "seresnet10",
            "seresnet10_cub",
            "sharesnet18",
            "shufflenet_g1_wd4",
            "shufflenetv2_wd2",
            "shufflenetv2b_wd2",
            "sparsenet121",
            "spnasnet",
            "sqnxt23_w1",
            "vovnet27s",
            "xdensenet121_2",
        ),
        (32, 32): (
            "densenet40_k12_bc_cifar10",
            "diapreresnet20_cifar10",
            "diaresnet20_cifar10",
            "msdnet22_cifar10",
            "preresnet20_cifar10",
            "pyramidnet110_a48_cifar10",
            "resdropresnet20_cifar10",
            "resnet20_cifar10",
            "resnext20_32x2d_cifar10",
            "rir_cifar10",
            "ror3_56_cifar10",
            "sepreresnet20_cifar10",
            "seresnet20_cifar10",
            "shakedropresnet20_cifar10",
            "shakeshakeresnet20_2x16d_cifar10",
            "wrn16_10_cifar10",
            "xdensenet40_2_k24_bc_cifar10",
        ),
        (64, 64): (
            "dicenet_wd5",
            "efficientnet_b0",
            "efficientnet_edge_small_b",
            "regnetx002",
            "resnestabc14",
            "resneta10",
            "resnetd50b",
        ),
    }.items()
    for name in names
]

BY_PACKAGE = {
    "torchvision": TORCHVISION,
    "timm": TIMM,
    "pytorchcv": PYTORCHCV,
    "smp": SMP,
    "smp+timm+torchvision": SMP,
    "monai": MONAI,
}
