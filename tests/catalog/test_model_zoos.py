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


@pytest.mark.parametrize(
    ("name", "asked", "expected"),
    [
        ("transformers.AutoModelForImageClassification.from_pretrained", "", False),
        ("transformers.AutoModelForImageClassification.from_pretrained", "google/vit-base", True),
        ("transformers.AutoModelForImageClassification.from_pretrained", "me/leaves", False),
        ("transformers.AutoBackbone.from_pretrained", "apple/mobilevit-small", False),
        ("transformers.AutoModel.from_pretrained", "", True),
        ("transformers.AutoModel.from_pretrained", "bert-base-uncased", True),
        ("transformers.AutoModel.from_pretrained", "microsoft/resnet-50", False),
        ("open_clip.create_model", "ViT-B-32", True),
        ("open_clip.create_model", "RN50", False),
        ("clip.load", "ViT-B/32", True),
        ("effdet.create_model", "tf_efficientdet_d0", False),
    ],
)
def test_what_is_asked_for_by_a_name_may_hold_none(name: str, asked: str, expected: bool) -> None:
    builder = model_zoos.lookup(name)
    assert builder is not None
    assert builder.builds_none(asked) is expected


def test_what_a_builder_gives_is_said() -> None:
    given = {zoo.gives for zoo in model_zoos.builders()}
    assert given == {model_zoos.MODULE, model_zoos.UNSURE, model_zoos.OTHER}
    for name in ("fastai.vision.all.vision_learner", "ultralytics.YOLO", "clip.load"):
        builder = model_zoos.lookup(name)
        assert builder is not None
        assert builder.gives == model_zoos.OTHER
