"""The point of it all: what was saved before the rewrite loads strictly into the code after it.

The models are torchvision's own sources and the example project, rewritten by bncodemod.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bncodemod.checkpoint.migrate import migrate
from bncodemod.core import rewrite
from bncodemod.settings import Settings

torch = pytest.importorskip("torch")

EXAMPLES = Path(__file__).parents[2] / "examples"
STRATEGIES = ("no-running-stats", "group-norm")

Builder = Callable[[ModuleType], Any]
MODELS: dict[str, tuple[str, Builder, tuple[int, ...]]] = {
    "resnet18": ("torchvision/resnet", lambda m: m.resnet18(num_classes=7), (2, 3, 64, 64)),
    "densenet": (
        "torchvision/densenet",
        lambda m: m.DenseNet(8, (2, 2), 16, num_classes=7),
        (2, 3, 64, 64),
    ),
    "mobilenet_v2": (
        "torchvision/mobilenetv2",
        lambda m: m.mobilenet_v2(num_classes=7, dropout=0.0),
        (2, 3, 64, 64),
    ),
    "googlenet": (
        "torchvision/googlenet",
        lambda m: m.googlenet(num_classes=7, aux_logits=False, init_weights=False, dropout=0.0),
        (2, 3, 64, 64),
    ),
    "unet": ("examples/unet", lambda m: m.UNet(), (2, 3, 32, 32)),
    "gan": ("examples/gan", lambda m: m.Discriminator(), (2, 1, 32, 32)),
    "pointnet": ("examples/pointnet", lambda m: m.PointNet(), (2, 3, 32)),
}


def source_of(place: str) -> str:
    """The text of a module, that of torchvision with absolute imports and unregistered models."""
    package, name = place.split("/")
    if package == "examples":
        return (EXAMPLES / f"{name}.py").read_text()
    import torchvision_import

    torchvision_import.prepare()
    models = pytest.importorskip("torchvision.models")
    text = (Path(models.__file__).parent / f"{name}.py").read_text()
    text = text.replace("@register_model()\n", "")
    text = re.sub(r"(?m)^from \.\.(\w)", r"from torchvision.\1", text)
    return re.sub(r"(?m)^from \.(\w)", r"from torchvision.models.\1", text)


def module(path: Path, text: str) -> ModuleType:
    """The module of a text, under a name of its own: torch.jit remembers overloads by name."""
    path = path.with_stem(f"{path.parent.name}_{path.stem}")
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = made
    spec.loader.exec_module(made)
    return made


def trained(model: Any, shape: tuple[int, ...]) -> Any:
    """A model whose statistics and affine parameters are not the initial ones."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    model.train()(torch.randn(shape)).square().mean().backward()
    optimizer.step()
    return model


def save(state: Any, path: Path) -> None:
    if path.suffix == ".safetensors":
        pytest.importorskip("safetensors.torch").save_file(state, path)
    else:
        torch.save(state, path)


def load(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return pytest.importorskip("safetensors.torch").load_file(path)
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", MODELS)
def test_a_migrated_checkpoint_loads_strictly(
    name: str, strategy: str, suffix: str, tmp_path: Path
) -> None:
    place, build, shape = MODELS[name]
    text = source_of(place)
    result = rewrite(text.encode(), "model.py", Settings(strategy=strategy))
    assert result.after is not None
    torch.manual_seed(0)
    before = trained(build(module(tmp_path / "before.py", text)), shape)
    after = build(module(tmp_path / "after.py", result.after.decode()))
    old, new = tmp_path / f"old{suffix}", tmp_path / f"new{suffix}"
    save(before.state_dict(), old)

    with pytest.raises(RuntimeError, match="Unexpected key"):
        after.load_state_dict(load(old))
    assert migrate(str(old), str(new)).written
    after.load_state_dict(load(new), strict=True)

    parameters = dict(after.named_parameters())
    assert parameters.keys() == dict(before.named_parameters()).keys()
    for key, parameter in before.named_parameters():
        assert torch.equal(parameters[key], parameter), key
    if strategy == "no-running-stats":
        x = torch.randn(shape)
        assert torch.equal(after.train()(x), before.train()(x))
