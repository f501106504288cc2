"""What modules change in torch is told from what the verifier does itself."""

from __future__ import annotations

from pathlib import Path

import torch
from examined import as_found, examined, image, net
from test_parts import DETECTOR, DROPPED

from bncodemod.verify.model import Check
from bncodemod.verify.process_state import changes, state

PATCHES = """
def build():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    torch.func.replace_all_batch_norm_modules_(model)
    return model

def sensitivity(model, x):
    model.eval()
    return torch.func.vmap(model)(x)
"""


def test_what_the_verifier_does_is_no_change(tmp_path: Path) -> None:
    before = state()
    examined(tmp_path, net(DROPPED), time=True, **image(8))
    examined(tmp_path, DETECTOR.replace("NORM", DROPPED).replace("UNUSED", "nn.ReLU()"))
    as_found(tmp_path, PATCHES, checks=frozenset(Check))
    assert changes(before) == []


def test_a_change_is_named_until_it_is_undone() -> None:
    before = state()
    relu = torch.relu
    torch.relu = torch.abs
    assert changes(before) == ["torch.relu"]
    torch.relu = relu
    assert changes(before) == []
