"""The table of other libraries' builders."""

from __future__ import annotations

import pytest

from bncodemod.catalog import model_zoos


@pytest.mark.parametrize(
    "name",
    [
        "timm.create_model",
        "timm.models.create_model",
        "segmentation_models_pytorch.Unet",
        "segmentation_models_pytorch.create_model",
        "torch.hub.load",
        "pytorchcv.model_provider.get_model",
        "efficientnet_pytorch.EfficientNet.from_name",
        "efficientnet_pytorch.EfficientNet.from_pretrained",
        "pretrainedmodels.se_resnet50",
    ],
)
def test_a_builder_has_a_remedy_of_one_line(name: str) -> None:
    builder = model_zoos.lookup(name)
    assert builder is not None
    assert "torch.func.replace_all_batch_norm_modules_(model)" in builder.remedy
    assert "\n" not in builder.remedy


@pytest.mark.parametrize("name", ["timm", "create_model", "timm.list_models", "torch.hub.list"])
def test_other_names_are_not_builders(name: str) -> None:
    assert model_zoos.lookup(name) is None
