"""What the catalog says of other libraries' classes, against the source of those installed."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from reading_libraries import Library

from bncodemod.catalog import module_classes
from bncodemod.catalog.data import load
from bncodemod.scan.index import EMPTY_INDEX
from bncodemod.scan.prefilter import may_hold_site

INSTALLED = ("segmentation_models_pytorch", "timm")


@pytest.mark.parametrize(
    "name",
    [
        "timm.layers.ConvNormAct",
        "timm.models.resnet.BasicBlock",
        "timm.models.ResNet",
        "segmentation_models_pytorch.encoders.resnet.ResNetEncoder",
        "transformers.ResNetModel",
        "transformers.ResNetModel.from_pretrained",
        "transformers.models.resnet.modeling_resnet.ResNetConvLayer",
        "transformers.Wav2Vec2ConformerModel",
        "facenet_pytorch.InceptionResnetV1",
        "efficientnet_pytorch.EfficientNet",
        "lightly.models.modules.SimCLRProjectionHead",
        "ultralytics.nn.tasks.DetectionModel",
    ],
)
def test_a_class_that_builds_batch_norm_is_listed(name: str) -> None:
    assert module_classes.lookup(name) == name.removesuffix(".from_pretrained")


@pytest.mark.parametrize(
    "name",
    [
        "timm.layers.Mlp",
        "timm.layers.BatchNormAct2d",
        "timm.models.VisionTransformer",
        "transformers.BertModel",
        "transformers.ResNetConfig",
        "transformers.DetrModel",  # its backbone's norms are frozen ones
        "transformers.ResNetModel.config_class",
        "facenet_pytorch.MTCNN",
        "ResNetModel",
        "",
    ],
)
def test_other_names_are_not_listed(name: str) -> None:
    assert module_classes.lookup(name) == ""


@pytest.mark.parametrize("library", module_classes.libraries())
def test_no_class_is_passed_over_by_the_look_at_bytes(library: str) -> None:
    public = [n for n in module_classes.names(library) if n.count(".") <= 2]
    for name in public:
        module, _, last = name.rpartition(".")
        assert may_hold_site(f"from {module} import {last}\n".encode(), EMPTY_INDEX), name


@pytest.mark.slow
@pytest.mark.parametrize("library", INSTALLED)
def test_the_data_is_what_the_source_says(library: str) -> None:
    (said,) = (e for e in load("module_classes.json")["libraries"] if e["library"] == library)
    try:
        found = distribution(library)
    except PackageNotFoundError:
        pytest.skip(f"{library} is not installed")
    if found.version != said["version"]:
        pytest.skip(f"measured on {library} {said['version']}")
    names = Library(Path(str(found.locate_file(library)))).names()
    assert json.loads(json.dumps(names)) == said["classes"]
