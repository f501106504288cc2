"""Marked values pass for what they stand for, and build what it builds."""

from __future__ import annotations

import copy
import functools
import pickle
from pathlib import Path

import pytest
import torch
from examined import examined, image
from torch import nn

from bncodemod.verify.instrument import marked, sites_being_called
from bncodemod.verify.model import Check, Site, SiteKind

SITE = Site("a.py", 1, 1, 1, 2, SiteKind.VALUE, "X")


def group_norm(channels: int, eps: float = 1e-5) -> nn.GroupNorm:
    """A factory."""
    assert sites_being_called() == (SITE,)
    return nn.GroupNorm(1, channels, eps=eps)


def test_a_class_passes_for_the_original() -> None:
    value = marked(SITE, nn.BatchNorm2d)
    assert issubclass(value, nn.BatchNorm2d)
    assert issubclass(nn.BatchNorm2d, value)
    assert value == nn.BatchNorm2d
    assert {nn.BatchNorm2d: 1}[value] == 1
    assert value in (nn.GroupNorm, nn.BatchNorm2d)
    assert value != nn.BatchNorm1d
    assert value.__name__ == "BatchNorm2d"


def test_a_class_builds_the_original() -> None:
    value = marked(SITE, nn.BatchNorm2d)
    norm = value(3)
    assert type(norm) is nn.BatchNorm2d
    assert isinstance(norm, value)
    assert isinstance(nn.BatchNorm2d(3), value)
    assert not isinstance(nn.GroupNorm(1, 3), value)
    pickle.loads(pickle.dumps(norm))


def test_a_class_can_be_a_base() -> None:
    class Norm(marked(SITE, nn.BatchNorm2d)):  # type: ignore[misc]
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + 1

    norm = Norm(3)
    assert type(norm) is Norm
    assert isinstance(norm, Norm)
    assert not isinstance(nn.BatchNorm2d(3), Norm)
    assert norm(torch.randn(2, 3, 4, 4)).shape == (2, 3, 4, 4)


def test_a_class_pickles_as_the_original() -> None:
    value = marked(SITE, nn.BatchNorm2d)
    assert pickle.loads(pickle.dumps(value)) == nn.BatchNorm2d
    assert copy.deepcopy(value) == nn.BatchNorm2d


def test_a_partial_stays_one() -> None:
    value = marked(SITE, functools.partial(group_norm, eps=1e-3))
    assert isinstance(value, functools.partial)
    assert value.func is group_norm
    assert value.keywords == {"eps": 1e-3}
    for each in (value, copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert each(3).eps == 1e-3
    assert functools.partial(value, eps=1e-2)(3).eps == 1e-2


def test_a_function_keeps_its_name_and_doc() -> None:
    value = marked(SITE, group_norm)
    assert value(3).num_channels == 3
    assert (value.__name__, value.__doc__) == ("group_norm", "A factory.")
    assert sites_being_called() == ()


@pytest.mark.parametrize("value", [None, "BN", {"type": "BN"}, int, nn.BatchNorm2d(3)])
def test_other_values_stay_what_they_are(value: object) -> None:
    assert marked(SITE, value) is value


def test_a_module_that_fails_marked_is_imported_unmarked(tmp_path: Path) -> None:
    text = """
    NORM = ⟨nn.BatchNorm2d⟩
    assert NORM is nn.BatchNorm2d

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = NORM(3)
            self.b = ⟪nn.GroupNorm(1, 3)⟫

        def forward(self, x):
            return self.b(self.a(x))
    """
    said = examined(tmp_path, text, checks=frozenset({Check.FORWARD}), **image())
    assert said.module.error == ""
    assert said.reached() == ["nn.GroupNorm(1, 3)"]  # of the value nothing is known


def test_an_error_of_the_module_is_reported_once(tmp_path: Path) -> None:
    said = examined(tmp_path, "NORM = ⟨nn.BatchNorm2d⟩\nraise ValueError('mine')")
    assert said.module.error == "ValueError: mine"
    assert "examined_" in said.module.trace
    assert said.candidates == []
