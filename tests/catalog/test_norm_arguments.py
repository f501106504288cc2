"""What the catalog says of callables that are told a norm, against the installed libraries."""

from __future__ import annotations

import importlib
import json

import pytest

from bncodemod.catalog import norm_arguments

LIBRARIES = {"monai": "regenerate_monai", "segmentation_models_pytorch": "regenerate_smp"}


@pytest.mark.parametrize(
    ("name", "effect", "parameter", "default"),
    [
        ("monai.networks.nets.UNet", "works", "norm", ""),
        ("monai.networks.nets.unet.Unet", "works", "norm", ""),
        ("monai.networks.nets.DenseNet121", "works", "norm", "'batch'"),
        ("monai.networks.nets.HighResNet", "works", "norm_type", "('batch', {'affine': True})"),
        ("monai.networks.nets.resnet50", "partly", "norm", "'batch'"),
        ("monai.networks.nets.AHNet", "none", "", ""),
        ("monai.networks.layers.get_norm_layer", "works", "name", ""),
        ("segmentation_models_pytorch.Unet", "works", "decoder_use_norm", ""),
        ("segmentation_models_pytorch.UPerNet", "partly", "decoder_use_norm", ""),
        ("segmentation_models_pytorch.PAN", "none", "", ""),
        ("segmentation_models_pytorch.FPN", "no norms", "", ""),
    ],
)
def test_what_a_callable_does(name: str, effect: str, parameter: str, default: str) -> None:
    entry = norm_arguments.lookup(name)
    assert entry is not None
    assert (entry.effect, entry.parameter, entry.default) == (effect, parameter, default)


@pytest.mark.parametrize(
    "name", ["monai.networks.nets.ViT", "monai.losses.DiceLoss", "mymonai.UNet", "UNet", "torch.nn"]
)
def test_other_names_are_not_listed(name: str) -> None:
    assert norm_arguments.lookup(name) is None


def test_channels_are_known_of_blocks_only() -> None:
    block = norm_arguments.lookup("monai.networks.blocks.Convolution")
    net = norm_arguments.lookup("monai.networks.nets.UNet")
    assert block is not None
    assert net is not None
    assert (block.channels, block.channels_position) == ("out_channels", 2)
    assert net.channels == ""


def test_pretrained_weights_are_asked_for_by_name_and_by_default() -> None:
    net = norm_arguments.lookup("monai.networks.nets.EfficientNetBN")
    assert net is not None
    assert (net.weights, net.weights_position, net.pretrained_by_default) == ("pretrained", 1, True)


def test_encoders_without_norms() -> None:
    assert {"vgg16", "mit_b0"} <= norm_arguments.encoders_without_norms()
    assert "resnet18" not in norm_arguments.encoders_without_norms()


@pytest.mark.slow
@pytest.mark.parametrize("library", LIBRARIES)
def test_the_data_is_what_the_installed_library_does(library: str) -> None:
    pytest.importorskip("torch", reason="needs the extra 'test'")
    pytest.importorskip("torchvision_import").prepare()
    installed = pytest.importorskip(library, reason=f"needs {library}").__version__
    if installed != norm_arguments.version(library):
        pytest.skip(f"measured on {norm_arguments.version(library)}, installed is {installed}")
    regenerate = importlib.import_module(LIBRARIES[library])
    measuring = importlib.import_module("measuring")
    measured = json.loads(regenerate.rendered())
    recorded = json.loads((measuring.CATALOG / regenerate.FILE).read_text(encoding="utf-8"))
    for new, old in zip(measured["callables"], recorded["callables"], strict=True):
        assert new == old
