"""Marked values pass for what they stand for, and build what it builds."""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from examined import examined, image
from torch import nn

from bncodemod.verify.marks import lookups, marked, plain, sites_on
from bncodemod.verify.model import Cause, Check, Site, SiteKind
from bncodemod.verify.recorder import Recorder, sites_of

SITE = Site("a.py", 1, 1, 1, 2, SiteKind.VALUE, "X")


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


def test_a_partial_is_the_object_that_it_was() -> None:
    value = functools.partial(nn.BatchNorm2d, track_running_stats=False)
    assert marked(SITE, value) is value
    assert type(value) is functools.partial
    assert value.func is nn.BatchNorm2d
    assert value.keywords == {"track_running_stats": False}
    assert value.keywords["track_running_stats"] is False
    assert functools.partial(value, eps=1e-3).func is nn.BatchNorm2d
    assert repr(value) == repr(functools.partial(nn.BatchNorm2d, track_running_stats=False))
    assert pickle.loads(pickle.dumps(value)).keywords == value.keywords


class Own(nn.BatchNorm2d):
    """Takes by name what it hands on by place."""

    def __init__(self, channels: int, track_running_stats: bool = True) -> None:
        super().__init__(channels, 1e-5, 0.1, True, track_running_stats)


def test_what_a_partial_builds_knows_its_site() -> None:
    value = marked(SITE, functools.partial(nn.BatchNorm2d, track_running_stats=False))
    with Recorder([]):
        for built in (
            value(3),
            copy.deepcopy(value)(3),
            functools.partial(value, eps=1e-2)(3),
            Own(3, **value.keywords),
        ):
            assert sites_of(built) == {SITE}
            assert sites_of(copy.deepcopy(built)) == {SITE}
        assert sites_of(nn.BatchNorm2d(3, track_running_stats=False)) == frozenset()


@pytest.mark.parametrize("value", [functools.partial(nn.GroupNorm, 1), lambda c: group(c)])
def test_a_partial_of_places_only_and_a_function(value: Any) -> None:
    made = marked(SITE, value)
    assert type(made) is type(value)
    with Recorder([]):
        assert sites_of(made(3)) == {SITE}
        assert sites_of(nn.GroupNorm(1, 3)) == frozenset()


def group(channels: int) -> nn.GroupNorm:
    """A factory."""
    return nn.GroupNorm(1, channels)


def test_a_function_is_a_copy() -> None:
    value = marked(SITE, group)
    assert (value.__name__, value.__doc__, value.__module__) == ("group", "A factory.", __name__)
    assert inspect.signature(value) == inspect.signature(group)
    assert plain(value) is group


def test_the_norms_are_as_they_were_to_inspect() -> None:
    with Recorder([]):
        for kind in (nn.BatchNorm2d, nn.GroupNorm):
            assert "affine" in inspect.signature(kind).parameters
            assert inspect.signature(marked(SITE, kind)) == inspect.signature(kind)


def test_an_error_says_which_site_was_called() -> None:
    value = marked(SITE, functools.partial(nn.BatchNorm2d, track_running_stats=False))
    with Recorder([]), lookups():
        with pytest.raises(TypeError) as raised:
            value(3, nonsense=1)
        assert sites_on(raised.value.__traceback__) == {SITE}


@pytest.mark.parametrize("value", [None, "BN", {"type": "BN"}, int, nn.BatchNorm2d(3), print])
def test_other_values_stay_what_they_are(value: object) -> None:
    assert marked(SITE, value) is value


def test_a_module_that_fails_marked_is_imported_unmarked(tmp_path: Path) -> None:
    text = """
    NORM = ⟨nn.BatchNorm2d⟩
    assert NORM.__class__ is type

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


GATE = """
class Gate(nn.Module):
    def forward(self, x):
        return x if x.abs().max().item() > 0 else x
"""


@pytest.mark.parametrize(
    ("norm", "test"),
    [
        ("partial(nn.BatchNorm2d, track_running_stats=False)", "type(norm) == partial"),
        ("partial(nn.BatchNorm2d, track_running_stats=False)", "type(norm) is partial"),
        ("partial(nn.BatchNorm2d, track_running_stats=False)", "norm.func is nn.BatchNorm2d"),
        (
            "partial(nn.BatchNorm2d, track_running_stats=False)",
            'norm.keywords["track_running_stats"] is False',
        ),
        ("partial(nn.GroupNorm, 1)", "type(norm) == partial and norm.func is nn.GroupNorm"),
        ("nn.InstanceNorm2d", "norm is nn.InstanceNorm2d"),
        ("nn.InstanceNorm2d", "not (norm is not nn.InstanceNorm2d)"),
        ("nn.InstanceNorm2d", "type(norm) is type and id(norm) == id(nn.InstanceNorm2d)"),
        ("make", "norm is make"),
    ],
)
def test_what_the_user_tests_is_as_without_marks(tmp_path: Path, norm: str, test: str) -> None:
    text = f"""
def make(channels):
    return nn.GroupNorm(1, channels)
{GATE}
class Net(nn.Module):
    def __init__(self, norm=⟨{norm}⟩):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.bn = norm(3)
        self.gate = Gate() if {test} else nn.Identity()

    def forward(self, x):
        return self.gate(self.bn(self.conv(x)))
"""
    said = examined(tmp_path, text, checks=frozenset({Check.VMAP}), **image())
    assert said.of("Net").sites == said.job.sites
    assert said.result(Check.VMAP).cause is Cause.ITEM


def test_another_file_of_the_project_sees_no_marks(tmp_path: Path) -> None:
    (tmp_path / "layers_of_it.py").write_text(
        "from torch import nn\n"
        "def build(norm, channels):\n"
        "    return norm(1, channels) if norm is nn.GroupNorm else norm(channels)\n"
    )
    text = """
import layers_of_it

class Net(nn.Module):
    def __init__(self, norm=⟨nn.GroupNorm⟩):
        super().__init__()
        self.norm = layers_of_it.build(norm, 3)

    def forward(self, x):
        return self.norm(x)
"""
    said = examined(tmp_path, text, checks=frozenset({Check.FORWARD}), **image())
    assert said.of("Net").sites == said.job.sites
