"""Models of the source that are built and loaded in one file: auto keeps their statistics."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch
from torch import nn

from bncodemod.core import rewrite
from bncodemod.model import FileResult, Status
from bncodemod.settings import Configuration, Settings
from bncodemod.sweep.run import sweep

SCRIPT = """\
import torch
from torch import nn
from torch.func import functional_call, grad, vmap


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x):
        return self.norm(self.conv(x)).mean((2, 3))


net = Net()
net.load_state_dict(torch.load("net.pt"))


def loss(p, x):
    return functional_call(net, p, (x[None],)).sum()


torch.manual_seed(0)
x = torch.randn(4, 3, 8, 8)
gradients = TRANSFORMED
net.eval()
out = net(x)
"""
BY_VMAP = SCRIPT.replace(
    "TRANSFORMED", "vmap(grad(loss), (None, 0))(dict(net.named_parameters()), x)"
)
BY_LOOP = SCRIPT.replace("TRANSFORMED", "None")
BLOCK = """\
from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(8)
"""
OF_BLOCKS = """\
import timm
import torch
from block import Block
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block()
        self.norm = nn.BatchNorm2d(8)


net = Net()
net.load_state_dict(torch.load("net.pt"))
"""
BESIDE_LIBRARY = """\
import timm
import torch
from block import Block

net = Block()
net.load_state_dict(torch.load("net.pt"))
backbone = timm.create_model("resnet18")
backbone.load_state_dict(torch.load("resnet18.pt"))
"""
OTHER = """\


NORMS = [nn.BatchNorm2d]


def other():
    return nn.Sequential(NORMS[0](8))
"""


def auto(source: str) -> FileResult:
    result = rewrite(source.encode(), "script.py", Settings("auto"))
    assert not result.errors
    return result


def save_weights(path: Path) -> None:
    torch.manual_seed(1)
    norm = nn.BatchNorm2d(8)
    norm.running_mean = torch.rand(8)
    weights = {
        **{f"conv.{name}": value for name, value in nn.Conv2d(3, 8, 3).state_dict().items()},
        **{f"norm.{name}": value for name, value in norm.state_dict().items()},
    }
    torch.save(weights, path)


def test_weights_load_strictly_and_eval_mode_is_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_weights(tmp_path / "net.pt")
    script = tmp_path / "script.py"
    script.write_text(BY_LOOP)
    before = runpy.run_path(str(script))["out"]
    script.write_text(BY_VMAP)
    with pytest.raises(RuntimeError, match="in-place operation"):
        runpy.run_path(str(script))
    after = auto(BY_VMAP).after
    assert after is not None
    script.write_bytes(after)
    found = runpy.run_path(str(script))
    assert torch.equal(found["out"], before)
    assert found["gradients"]["conv.weight"].shape[0] == 4


def test_the_reason_names_the_load() -> None:
    (finding,) = auto(BY_VMAP).findings
    assert finding.status is Status.REWRITTEN
    assert "weights are loaded (line 17)" in finding.message


def test_without_a_load_the_norm_is_rewritten() -> None:
    result = auto(BY_VMAP.replace("net.load_state_dict", "print"))
    assert result.after is not None
    assert b"nn.BatchNorm2d(8, track_running_stats=False)" in result.after


def test_a_norm_beside_it_that_loses_its_statistics_has_the_load_reported() -> None:
    first = auto(BY_VMAP + OTHER)
    assert first.after is not None
    again = auto(first.after.decode())
    assert again.after is None
    for result in (first, again):
        assert [f.code for f in result.findings if f.status is Status.OPEN] == ["BN310"]


@pytest.mark.parametrize("script", [OF_BLOCKS, BESIDE_LIBRARY], ids=["held", "beside a library's"])
def test_norms_of_another_file_that_lose_them_have_the_load_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "block.py").write_text(BLOCK)
    (tmp_path / "script.py").write_text(script)
    configuration = Configuration(str(tmp_path), Settings("auto"))
    for _ in range(2):
        swept = sweep(["."], configuration, write=True, jobs=1)
        findings = [f for result in swept for f in result.findings]
        assert [(f.code, Path(f.path).name) for f in findings if f.status is Status.OPEN] == [
            ("BN310", "script.py")
        ]


def test_an_instance_norm_is_not_reached_by_patches() -> None:
    source = BY_VMAP.replace("nn.BatchNorm2d(8)", "nn.InstanceNorm2d(8, track_running_stats=True)")
    for patch in ("replace", "keep-statistics"):
        result = rewrite(source.encode(), "script.py", Settings("runtime-patch", patch=patch))
        assert result.after is None
        assert [(f.code, f.status) for f in result.findings] == [("BN105", Status.OPEN)]
    after = auto(source).after
    assert after is not None
    assert b"track_running_stats=False" in after
