"""The catalog's data against the installed torchvision."""

from __future__ import annotations

import json

import pytest

from bncodemod.catalog import torchvision as catalog

INSTALLED = {
    "torchvision.models.resnet18": "torchvision.models.resnet.resnet18",
    "torchvision.models.googlenet": "torchvision.models.googlenet.googlenet",
    "torchvision.models.mobilenet.mobilenet_v2": "torchvision.models.mobilenetv2.mobilenet_v2",
    "torchvision.models.quantization.resnet18": "torchvision.models.quantization.resnet.resnet18",
    "torchvision.models.video.r3d_18": "torchvision.models.video.resnet.r3d_18",
    "torchvision.models.detection.fasterrcnn_resnet50_fpn": (
        "torchvision.models.detection.faster_rcnn.fasterrcnn_resnet50_fpn"
    ),
    "torchvision.models.segmentation.deeplabv3_resnet50": (
        "torchvision.models.segmentation.deeplabv3.deeplabv3_resnet50"
    ),
    "torchvision.ops.Conv2dNormActivation": "torchvision.ops.misc.Conv2dNormActivation",
    "torchvision.ops.misc.Conv2dNormActivation": "torchvision.ops.misc.Conv2dNormActivation",
}


@pytest.mark.parametrize(("alias", "canonical"), INSTALLED.items())
def test_a_builder_is_found_by_every_path(alias: str, canonical: str) -> None:
    found = catalog.lookup(alias)
    assert found is not None
    assert found.name == canonical


@pytest.mark.parametrize(
    "name",
    [
        "torchvision.models.vgg11",
        "torchvision.models.vit_b_16",
        "torchvision.ops.MLP",
        "torchvision.ops.FrozenBatchNorm2d",
        "torchvision.models.detection.backbone_utils.BackboneWithFPN",
        "torchvision.models.mobilenetv3.InvertedResidual",
        "mypackage.models.resnet18",
        "resnet18",
    ],
)
def test_what_builds_no_batch_norm_of_its_own_is_not_listed(name: str) -> None:
    assert catalog.lookup(name) is None


@pytest.mark.parametrize(
    ("registered", "norm_layer", "eps", "momentum"),
    [
        ("resnet18", "works", None, None),
        ("mobilenet_v3_small", "works", 1e-3, 1e-2),
        ("maxvit_t", "works", 1e-3, 1e-2),
        ("s3d", "works", 1e-3, 1e-3),
        ("quantized_resnet18", "works", None, None),
        ("ssdlite320_mobilenet_v3_large", "group-norm-only", 1e-3, 3e-2),
        ("deeplabv3_resnet50", "swallowed", None, None),
        ("efficientnet_v2_s", "twice", 1e-3, None),
        ("vgg11_bn", "unknown", None, None),
    ],
)
def test_what_norm_layer_does(
    registered: str, norm_layer: str, eps: float | None, momentum: float | None
) -> None:
    builder = catalog.lookup_registered(registered)
    assert builder is not None
    assert (builder.norm_layer, builder.eps, builder.momentum) == (norm_layer, eps, momentum)


def test_settings_are_not_claimed_where_they_are_mixed() -> None:
    builder = catalog.lookup("torchvision.models.segmentation.lraspp_mobilenet_v3_large")
    assert builder is not None
    assert builder.mixed
    assert builder.eps is builder.momentum is None


def test_pretrained_weights_are_asked_for_by_name_by_position_and_by_default() -> None:
    resnet = catalog.lookup("torchvision.models.resnet50")
    detector = catalog.lookup("torchvision.models.detection.retinanet_resnet50_fpn")
    assert resnet is not None
    assert detector is not None
    assert (resnet.weights, resnet.weights_positions) == (("weights", "pretrained"), (0,))
    assert not resnet.pretrained_by_default
    assert set(detector.weights) >= {"weights_backbone", "pretrained_backbone"}
    assert detector.weights_positions == (0, 3)
    assert detector.pretrained_by_default
    assert detector.frozen_when_pretrained


def test_every_builder_is_listed_once() -> None:
    names = [builder.name for builder in catalog.builders()]
    assert len(set(names)) == len(names)
    assert sum(builder.registered is not None for builder in catalog.builders()) == 92


@pytest.mark.slow
def test_the_data_is_what_the_installed_torchvision_does() -> None:
    pytest.importorskip("torch", reason="needs the extra 'test'")
    regenerate = pytest.importorskip("regenerate_torchvision", reason="needs torchvision")
    installed = regenerate.torchvision.__version__.split("+")[0]
    if installed != catalog.version():
        pytest.skip(f"measured on torchvision {catalog.version()}, installed is {installed}")
    measured = json.loads(regenerate.dump(regenerate.measure()))
    recorded = json.loads(regenerate.JSON.read_text(encoding="utf-8"))
    assert [b["name"] for b in measured["builders"]] == [b["name"] for b in recorded["builders"]]
    for new, old in zip(measured["builders"], recorded["builders"], strict=True):
        assert new == old
