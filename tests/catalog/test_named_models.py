"""What the catalog says of models that are built by a name, against the installed libraries."""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version

import pytest

from bncodemod.catalog import named_models
from bncodemod.catalog.named_models import NamedModel

LIBRARIES = {"timm": "regenerate_timm", "pytorchcv": "regenerate_pytorchcv"}


@pytest.mark.parametrize(
    ("library", "name", "expected"),
    [
        ("timm", "resnet50", NamedModel("works", group_norm=True, own_group_norm=True)),
        ("timm", "resnet50.a1_in1k", NamedModel("works", group_norm=True, own_group_norm=True)),
        ("timm", "inception_v3", NamedModel("works", eps=0.001)),
        ("timm", "efficientnet_b0", NamedModel("works")),
        ("timm", "tf_efficientnet_b0", NamedModel("refused", eps=0.001)),
        ("timm", "mobilenetv3_large_100", NamedModel("twice")),
        ("timm", "dpn68", NamedModel("partly", eps=0.001)),
        ("timm", "vit_base_patch16_224", NamedModel("no norms")),
        ("timm", "efficientvit_l1", NamedModel("mixed")),
        ("pytorchcv", "resnet18", NamedModel("refused")),
        ("pytorchcv", "alexnet", NamedModel("no norms")),
    ],
)
def test_what_a_model_holds(library: str, name: str, expected: NamedModel) -> None:
    assert named_models.lookup(library, name) == expected


@pytest.mark.parametrize("name", ["resnet5000", "hf-hub:timm/resnet50.a1_in1k", ""])
def test_other_names_are_not_listed(name: str) -> None:
    assert named_models.lookup("timm", name) is None


@pytest.mark.slow
@pytest.mark.parametrize(("library", "every"), [("timm", 25), ("pytorchcv", 25)])
def test_the_data_is_what_the_installed_library_does(library: str, every: int) -> None:
    """One model in ``every``: building all of them takes minutes."""
    pytest.importorskip("torch", reason="needs the extra 'test'")
    try:
        installed = version(library)
    except PackageNotFoundError:
        pytest.skip(f"{library} is not installed")
    if installed != named_models.version(library):
        pytest.skip(f"measured on {named_models.version(library)}, installed is {installed}")
    regenerate = importlib.import_module(LIBRARIES[library])
    names = sorted(named_models.names(library))[::every]
    for group in regenerate.measure(names):
        fields = {key: value for key, value in group.items() if key != "models"}
        for name in group["models"]:
            assert named_models.lookup(library, name) == NamedModel(**fields), name
