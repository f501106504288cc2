"""How to call those torchvision callables that need arguments, so that they can be measured.

A recipe is a function of the callable and of extra keyword arguments. Registered builders and
classes whose arguments all have defaults need none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn
from torchvision import models
from torchvision.models import efficientnet, mobilenetv3, regnet, resnet
from torchvision.models.quantization import mobilenetv2 as q_mobilenetv2
from torchvision.models.quantization import mobilenetv3 as q_mobilenetv3
from torchvision.models.quantization import resnet as q_resnet
from torchvision.models.video import resnet as video_resnet

Recipe = Callable[..., object]

# Blocks build batch norm only if this parameter is true.
NEEDS = {
    "torchvision.models.vgg._vgg": "batch_norm",
    "torchvision.models.vgg.make_layers": "batch_norm",
}


def _with(*args: Any, **kwargs: Any) -> Recipe:
    return lambda target, **extra: target(*args, **kwargs, **extra)


def _conv_stem(target: Callable[..., Any], **extra: Any) -> nn.Module:
    """ConvStemConfig is no module: a VisionTransformer builds what it says."""
    config = target(out_channels=8, kernel_size=3, stride=2, **extra)
    return models.VisionTransformer(32, 16, 1, 1, 8, 8, conv_stem_configs=[config])


def _efficientnet_settings() -> dict[str, Any]:
    settings, last_channel = efficientnet._efficientnet_conf(
        "efficientnet_b0", width_mult=0.25, depth_mult=0.25
    )
    return {"inverted_residual_setting": settings, "dropout": 0.0, "last_channel": last_channel}


def _mobilenet_v3_settings() -> dict[str, Any]:
    settings, last_channel = mobilenetv3._mobilenet_v3_conf("mobilenet_v3_small")
    return {"inverted_residual_setting": settings, "last_channel": last_channel}


def _maxvit_settings() -> dict[str, Any]:
    return {
        "stem_channels": 8,
        "block_channels": [8],
        "block_layers": [1],
        "head_dim": 4,
        "stochastic_depth_prob": 0.0,
        "partition_size": 2,
    }


def recipes() -> dict[str, Recipe]:
    """Recipes by canonical name."""
    groups = (_resnets, _mobile, _inceptions, _dense, _heads, _detection, _rest)
    return {name: recipe for group in groups for name, recipe in group().items()}


def _resnets() -> dict[str, Recipe]:
    layers = [1, 1, 1, 1]
    q_basic = q_resnet.QuantizableBasicBlock
    video_layers: dict[str, Any] = {
        "block": video_resnet.BasicBlock,
        "conv_makers": [video_resnet.Conv3DSimple] * 4,
        "layers": layers,
        "stem": video_resnet.BasicStem,
    }
    stage = regnet.BlockParams.from_init_params(depth=4, w_0=16, w_a=8.0, w_m=2.0, group_width=8)
    loads = {"weights": None, "progress": False}
    video = "torchvision.models.video.resnet"
    return {
        "torchvision.models.resnet.BasicBlock": _with(8, 8),
        "torchvision.models.resnet.Bottleneck": _with(32, 8),
        "torchvision.models.resnet.ResNet": _with(resnet.BasicBlock, layers),
        "torchvision.models.resnet._resnet": _with(resnet.BasicBlock, layers, **loads),
        "torchvision.models.quantization.resnet.QuantizableBasicBlock": _with(8, 8),
        "torchvision.models.quantization.resnet.QuantizableBottleneck": _with(32, 8),
        "torchvision.models.quantization.resnet.QuantizableResNet": _with(q_basic, layers),
        "torchvision.models.quantization.resnet._resnet": _with(
            q_basic, layers, quantize=False, **loads
        ),
        f"{video}.BasicBlock": _with(8, 8, video_resnet.Conv3DSimple),
        f"{video}.Bottleneck": _with(32, 8, video_resnet.Conv3DSimple),
        f"{video}.Conv2Plus1D": _with(8, 8, 8),
        f"{video}.VideoResNet": _with(**video_layers),
        f"{video}._video_resnet": _with(**video_layers, **loads),
        "torchvision.models.regnet.RegNet": _with(stage),
        "torchvision.models.regnet._regnet": _with(stage, **loads),
    }


def _mobile() -> dict[str, Recipe]:
    loads = {"weights": None, "progress": False}
    v3 = _mobilenet_v3_settings()
    q_v3 = {**v3, "block": q_mobilenetv3.QuantizableInvertedResidual}
    quantization = "torchvision.models.quantization"
    shuffle: dict[str, Any] = {
        "stages_repeats": [1, 1, 1],
        "stages_out_channels": [8, 16, 32, 64, 64],
    }
    return {
        "torchvision.models.mobilenetv2.InvertedResidual": _with(8, 8, 1, 2),
        f"{quantization}.mobilenetv2.QuantizableInvertedResidual": _with(8, 8, 1, 2),
        f"{quantization}.mobilenetv2.QuantizableMobileNetV2": _with(
            block=q_mobilenetv2.QuantizableInvertedResidual
        ),
        "torchvision.models.mobilenetv3.MobileNetV3": _with(**v3),
        "torchvision.models.mobilenetv3._mobilenet_v3": _with(**v3, **loads),
        f"{quantization}.mobilenetv3.QuantizableMobileNetV3": _with(**q_v3),
        f"{quantization}.mobilenetv3._mobilenet_v3_model": _with(**v3, **loads, quantize=False),
        "torchvision.models.efficientnet.EfficientNet": _with(**_efficientnet_settings()),
        "torchvision.models.efficientnet._efficientnet": _with(**_efficientnet_settings(), **loads),
        "torchvision.models.mnasnet.MNASNet": _with(1.0),
        "torchvision.models.mnasnet._InvertedResidual": _with(8, 8, 3, 1, 2),
        "torchvision.models.mnasnet._mnasnet": _with(1.0, **loads),
        "torchvision.models.mnasnet._stack": _with(8, 8, 3, 1, 2, 1, 0.1),
        "torchvision.models.shufflenetv2.InvertedResidual": _with(8, 8, 1),
        "torchvision.models.shufflenetv2.ShuffleNetV2": _with(**shuffle),
        "torchvision.models.shufflenetv2._shufflenetv2": _with(
            None, False, shuffle["stages_repeats"], shuffle["stages_out_channels"]
        ),
        f"{quantization}.shufflenetv2.QuantizableInvertedResidual": _with(8, 8, 1),
        f"{quantization}.shufflenetv2.QuantizableShuffleNetV2": _with(**shuffle),
        f"{quantization}.shufflenetv2._shufflenetv2": _with(**shuffle, **loads, quantize=False),
    }


def _inceptions() -> dict[str, Recipe]:
    google, inception = "torchvision.models.googlenet", "torchvision.models.inception"
    q_google = "torchvision.models.quantization.googlenet"
    q_incept = "torchvision.models.quantization.inception"
    plain: dict[str, tuple[Any, ...]] = {
        "InceptionA": (8, 8),
        "InceptionB": (8,),
        "InceptionC": (8, 8),
        "InceptionD": (8,),
        "InceptionE": (8,),
        "InceptionAux": (768, 8),
    }
    conv: dict[str, Any] = {"kernel_size": 1}
    return {
        f"{google}.BasicConv2d": _with(8, 8, **conv),
        f"{google}.Inception": _with(8, 8, 8, 8, 8, 8, 8),
        f"{google}.InceptionAux": _with(8, 8),
        f"{google}.GoogLeNet": _with(init_weights=False),
        f"{inception}.BasicConv2d": _with(8, 8, **conv),
        f"{inception}.Inception3": _with(init_weights=False),
        f"{q_google}.QuantizableBasicConv2d": _with(8, 8, **conv),
        f"{q_google}.QuantizableInception": _with(8, 8, 8, 8, 8, 8, 8),
        f"{q_google}.QuantizableInceptionAux": _with(8, 8),
        f"{q_google}.QuantizableGoogLeNet": _with(init_weights=False),
        f"{q_incept}.QuantizableBasicConv2d": _with(8, 8, **conv),
        f"{q_incept}.QuantizableInception3": _with(init_weights=False),
        **{f"{inception}.{name}": _with(*args) for name, args in plain.items()},
        **{f"{q_incept}.Quantizable{name}": _with(*args) for name, args in plain.items()},
    }


def _dense() -> dict[str, Recipe]:
    loads = {"weights": None, "progress": False}
    densenet, vgg = "torchvision.models.densenet", "torchvision.models.vgg"
    return {
        f"{densenet}._DenseLayer": _with(8, 8, 2, 0.0),
        f"{densenet}._DenseBlock": _with(1, 8, 2, 8, 0.0),
        f"{densenet}._Transition": _with(8, 8),
        f"{densenet}._densenet": _with(8, (1, 1, 1, 1), 8, **loads),
        f"{vgg}.make_layers": _with([8], batch_norm=True),
        f"{vgg}._vgg": _with("A", batch_norm=True, **loads),
    }


def _heads() -> dict[str, Recipe]:
    deeplab = "torchvision.models.segmentation.deeplabv3"
    fcn, lraspp = "torchvision.models.segmentation.fcn", "torchvision.models.segmentation.lraspp"

    def on(backbone: Callable[[], object], *args: Any) -> Recipe:
        return lambda target, **extra: target(backbone(), *args, **extra)

    resnet50 = partial(models.resnet50, weights=None, norm_layer=nn.Identity)
    v3_large = partial(models.mobilenet_v3_large, weights=None, norm_layer=nn.Identity)
    return {
        f"{deeplab}.ASPP": _with(8, [2], 8),
        f"{deeplab}.ASPPConv": _with(8, 8, 2),
        f"{deeplab}.ASPPPooling": _with(8, 8),
        f"{deeplab}.DeepLabHead": _with(8, 8),
        f"{deeplab}._deeplabv3_resnet": on(resnet50, 8, False),
        f"{deeplab}._deeplabv3_mobilenetv3": on(v3_large, 8, False),
        f"{fcn}.FCNHead": _with(8, 8),
        f"{fcn}._fcn_resnet": on(resnet50, 8, False),
        f"{lraspp}.LRASPPHead": _with(8, 8, 8, 8),
        f"{lraspp}.LRASPP": lambda target, **extra: target(nn.Identity(), 8, 8, 8, **extra),
        f"{lraspp}._lraspp_mobilenetv3": on(v3_large, 8),
    }


def _detection() -> dict[str, Recipe]:
    """Most build a norm only if they are given one: measured to build none of their own."""
    detection = "torchvision.models.detection"
    backbone, rcnn = f"{detection}.backbone_utils", f"{detection}.faster_rcnn"

    def extractor(target: Callable[..., object], **extra: Any) -> object:
        return target(models.resnet18(weights=None, norm_layer=nn.Identity), 5, **extra)

    def with_fpn(target: Callable[..., object], **extra: Any) -> object:
        return target(nn.Sequential(nn.Identity()), {"0": "0"}, [8], 8, **extra)

    return {
        f"{backbone}._resnet_fpn_extractor": extractor,
        f"{backbone}.BackboneWithFPN": with_fpn,
        f"{rcnn}.FastRCNNConvFCHead": _with((8, 7, 7), [8], [8]),
        f"{rcnn}._fasterrcnn_mobilenet_v3_large_fpn": _with(
            weights=None,
            progress=False,
            num_classes=8,
            weights_backbone=None,
            trainable_backbone_layers=6,
        ),
        f"{detection}.mask_rcnn.MaskRCNNHeads": _with(8, [8], 1),
        "torchvision.ops.feature_pyramid_network.FeaturePyramidNetwork": _with([8], 8),
        "torchvision.models.vision_transformer.VisionTransformer": _with(32, 16, 1, 1, 8, 8),
    }


def _rest() -> dict[str, Recipe]:
    ops = "torchvision.ops.misc"
    return {
        f"{ops}.ConvNormActivation": _with(8, 8),
        f"{ops}.Conv2dNormActivation": _with(8, 8),
        f"{ops}.Conv3dNormActivation": _with(8, 8),
        "torchvision.models.vision_transformer.ConvStemConfig": _conv_stem,
        "torchvision.models.maxvit.MaxVit": _with(input_size=(32, 32), **_maxvit_settings()),
        "torchvision.models.maxvit._maxvit": _with(input_size=(32, 32), **_maxvit_settings()),
    }
