"""Models of libraries that load their weights from the Hugging Face hub are built without them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from examined import examined

import torchvision_import
from bncodemod.verify.model import Check
from bncodemod.verify.offline import offline

META = frozenset({Check.META_VMAP})


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "net.pth"])
def test_weights_are_empty(name: str) -> None:
    hub = pytest.importorskip("huggingface_hub")
    with offline():
        path = hub.hf_hub_download("nobody/nothing", filename=name)
        if name.endswith("safetensors"):
            loaded = pytest.importorskip("safetensors.torch").load_file(path)
        else:
            loaded = torch.load(path)
    assert loaded == {}


def test_all_else_is_refused_with_the_reason() -> None:
    hub = pytest.importorskip("huggingface_hub")
    with offline(), pytest.raises(FileNotFoundError) as raised:
        hub.hf_hub_download("nobody/nothing", filename="config.json")
    assert "config.json of nobody/nothing is not on this machine" in str(raised.value)
    assert "the verifier downloads nothing" in str(raised.value)


def test_what_is_on_the_machine_is_used(tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    commit = "0" * 40
    cached = tmp_path / "models--nobody--nothing"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(commit)
    snapshot = cached / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    with offline():
        path = hub.hf_hub_download("nobody/nothing", filename="config.json", cache_dir=tmp_path)
    assert Path(path).read_text() == "{}"


@pytest.mark.parametrize(
    ("library", "model"),
    [
        ("timm", 'timm.create_model("resnet18", pretrained=True, num_classes=3)'),
        (
            "segmentation_models_pytorch",
            'segmentation_models_pytorch.Unet("resnet18", encoder_weights="imagenet")',
        ),
    ],
)
def test_pretrained_models_of_libraries(tmp_path: Path, library: str, model: str) -> None:
    torchvision_import.prepare()
    pytest.importorskip(library)
    text = f"""
import {library}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = {model}
        self.norm = ⟪nn.GroupNorm(1, 3)⟫

    def forward(self, x):
        return self.net(self.norm(x))
"""
    said = examined(tmp_path, text, checks=META)
    assert said.of("Net").error == ""
    assert said.of("Net").sites == said.job.sites
