"""The class that stands in for a batch norm class, and classes that derive from it."""

from __future__ import annotations

import copy
import inspect
import pickle
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bncodemod.catalog.torch import NORM_CLASSES
from bncodemod.core import rewrite
from bncodemod.settings import GROUP_FALLBACKS, Settings
from bncodemod.strategies.groups import class_helper_code, class_helper_name, num_groups

torch = pytest.importorskip("torch")

FIXTURES = Path(__file__).parents[1] / "fixtures" / "subclass"
GROUP_NORM = Settings("group-norm")
STOOD_IN_FOR = [n for n in NORM_CLASSES.values() if n.family == "batch" and not n.lazy]

every_class = pytest.mark.parametrize("norm", STOOD_IN_FOR, ids=lambda norm: norm.name)


def run(name: str, code: str) -> Any:
    """A module of that code, so that what it defines pickles."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(code, name, "exec"), module.__dict__)
    return module


def helper(norm: Any, settings: Settings = GROUP_NORM) -> Any:
    name = class_helper_name(norm)
    code = class_helper_code(name, norm, "torch.nn.GroupNorm", settings)
    return getattr(run(f"helper_of_{norm.name}", f"import torch\n{code}"), name)


def fixture(name: str, strategy: str | None) -> Any:
    data = (FIXTURES / f"{name}.in.py").read_bytes()
    if strategy is not None:
        data = rewrite(data, f"{name}.py", Settings(strategy)).after or b""
    torch.manual_seed(0)
    return run(f"{name}_{strategy}".replace("-", "_"), data.decode())


@every_class
def test_it_takes_the_arguments_of_the_class(norm: Any) -> None:
    own = inspect.signature(helper(norm)).parameters
    theirs = inspect.signature(getattr(torch.nn.modules.batchnorm, norm.name)).parameters
    positional = [(p.name, p.default) for p in theirs.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert [(p.name, p.default) for p in own.values()][: len(positional)] == positional


@pytest.mark.parametrize("fallback", GROUP_FALLBACKS)
def test_it_follows_the_rule_for_groups(fallback: str) -> None:
    for groups, smallest in ((32, 4), (6, 2)):
        settings = Settings("group-norm", groups, smallest, fallback)
        make = helper(NORM_CLASSES["BatchNorm2d"], settings)
        for channels in range(1, 257):
            expected = num_groups(channels, settings)
            if expected is None:
                with pytest.raises(ValueError, match=str(channels)):
                    make(channels, device="meta")
            else:
                assert make(channels, device="meta").num_groups == expected


@every_class
def test_it_is_a_batch_norm_without_running_statistics_to_those_who_read_it(norm: Any) -> None:
    layer = helper(norm)(8, 1e-3, None, affine=False, track_running_stats=True)
    theirs = getattr(torch.nn.modules.batchnorm, norm.name)(8, 1e-3, None, False, False)
    for name in (
        "num_features",
        "eps",
        "momentum",
        "affine",
        "track_running_stats",
        "running_mean",
    ):
        assert getattr(layer, name) == getattr(theirs, name)
    assert layer.running_var is layer.num_batches_tracked is None
    assert not list(layer.buffers())


@every_class
def test_it_goes_by_the_name_of_the_class_and_pickles_by_its_own(norm: Any) -> None:
    make = helper(norm)
    assert make.__name__ == norm.name
    assert pickle.loads(pickle.dumps(make)) is make
    layer = copy.deepcopy(pickle.loads(pickle.dumps(make(8))))
    assert isinstance(layer, make)
    assert repr(layer).startswith(f"{class_helper_name(norm)}(2, 8")


def batches(channels: int) -> Any:
    return torch.randn(3, 4, channels, 5, 5)


def layers(strategy: str | None) -> Iterator[tuple[Any, int]]:
    """Modules of the fixtures in train mode, each with the channels of its input."""
    module = fixture("norm_and_act", strategy)
    yield from ((net, 3) for net in (module.net, module.precise()))
    yield module.named, 8
    yield module.BatchNormAct2d(8, momentum=None), 8
    yield from ((layer, 8) for layer in fixture("functional_forms", strategy).layers)
    if strategy is not None:
        yield from ((layer, 8) for layer in fixture("descendants", strategy).layers[:-2])


def test_what_derives_from_it_runs_under_vmap_as_in_a_loop() -> None:
    for layer, channels in layers("group-norm"):
        x = batches(channels)
        together = torch.func.vmap(layer)(x)
        torch.testing.assert_close(together, torch.stack([layer(each) for each in x]))
        alone = torch.stack([layer(each[:1]) for each in x])
        torch.testing.assert_close(together[:, :1], alone)  # no sample depends on another
        assert together.std() > 0.1


def test_before_the_rewrite_vmap_refuses_them() -> None:
    for layer, channels in layers(None):
        if type(layer).__name__ != "Plain":  # it has no buffers to update
            with pytest.raises(RuntimeError):
                torch.func.vmap(layer)(batches(channels))


def test_the_functional_call_gives_what_the_layer_gives() -> None:
    twice = {"Keywords": 2, "Native": 2}  # one doubles the weight, one adds two calls
    for layer in fixture("functional_forms", "group-norm").layers:
        x = batches(8)[0]
        expected = twice.get(type(layer).__name__, 1) * torch.nn.GroupNorm.forward(layer, x)
        torch.testing.assert_close(layer(x), expected)


def test_a_norm_and_activation_layer_is_found_by_the_name() -> None:
    module = fixture("norm_and_act", "group-norm")
    assert type(module.net.bn) is module.BatchNormAct2d
    assert issubclass(module.BatchNormAct2d, torch.nn.GroupNorm)
    assert module.precise().bn.eps == 1e-3
    assert type(module.net.last) is module.GroupNormAsBatchNorm2d
