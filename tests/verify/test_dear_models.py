"""Models that are dear to run: their parts are checked in their place, gradients are of a few."""

from __future__ import annotations

from pathlib import Path

import pytest
from examined import examined

from bncodemod.verify.model import Built, Check, Outcome, SiteKind, Verdict


@pytest.mark.parametrize("owner", ["Block", "Net"])
def test_the_parts_of_a_dear_model_are_checked_in_its_place(tmp_path: Path, owner: str) -> None:
    source = """
class Block(nn.Module):
    def __init__(self, width, norm_layer):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 1)
        self.norm = BLOCK

    def forward(self, x):
        return self.norm(self.conv(x))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 256, 1)
        self.block = Block(256, NET)

    def forward(self, x):
        assert x.shape[-1] > 200, "size must be large"
        return self.block(self.stem(x))
"""
    block = "⟪nn.GroupNorm(2, width)⟫" if owner == "Block" else "norm_layer(width)"
    net = "None" if owner == "Block" else "⟨partial(nn.GroupNorm, 4)⟩"
    said = examined(tmp_path, source.replace("BLOCK", block).replace("NET", net))
    checked = {each.check for each in said.of("Net").checks}
    assert said.of("Net").notes[0].startswith("its parts were checked in its place")
    assert Check.VMAP in checked
    assert Check.GRAD not in checked
    assert said.of("Block").built is Built.HARVESTED
    assert said.of("Block").sites == said.job.sites
    assert said.result(Check.VMAP, "Block").outcome is Outcome.PASSED


def test_a_part_is_checked_with_the_norm_of_each_dear_model(tmp_path: Path) -> None:
    source = """
class Block(nn.Module):
    def __init__(self, width, norm_layer, scale):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 1)
        self.norm = norm_layer(width)
        self.scale = scale

    def forward(self, x):
        return self.norm(self.conv(x)) * self.scale

class Net(nn.Module):
    def __init__(self, norm_layer):
        super().__init__()
        self.stem = nn.Conv2d(3, 256, 1)
        self.blocks = nn.Sequential(*(Block(256, norm_layer, i) for i in range(14)))

    def forward(self, x):
        assert x.shape[-1] > 60, "size must be large"
        return self.blocks(self.stem(x))

def one() -> nn.Module:
    return Net(⟨partial(nn.GroupNorm, 4)⟩)

def two() -> nn.Module:
    return Net(⟨partial(nn.GroupNorm, 8)⟩)
"""
    said = examined(tmp_path, source)
    assert [found for _, found in said.verdicts(SiteKind.VALUE)] == [Verdict.VERIFIED] * 2
    parts = [each for each in said.candidates if each.name.startswith("Block")]
    assert {site for each in parts for site in each.sites} == set(said.job.sites)
    for name in ("one", "two", *(each.name for each in parts)):
        ran = {each.check for each in said.of(name).checks if each.outcome is Outcome.PASSED}
        assert (Check.GRAD in ran) == name.startswith("Block")
        assert Check.META_VMAP in ran


def test_gradients_of_a_large_model_are_those_of_its_smallest_parameters(tmp_path: Path) -> None:
    source = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.wide = nn.Linear(16, 2500)
        self.large = nn.Linear(2500, 2500)
        self.norm = ⟪nn.GroupNorm(4, 2500)⟫

    def forward(self, x):
        return self.norm(self.large(self.wide(x)))
"""
    said = examined(tmp_path, source, checks=frozenset({Check.GRAD}))
    assert said.result(Check.GRAD).outcome is Outcome.PASSED
    assert "gradients were taken of the 5 smallest of 6 parameters" in said.of("Net").notes
