"""The subclass that is a batch norm without running statistics, and classes that derive from it."""

from __future__ import annotations

import copy
import inspect
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from bncodemod.catalog.torch import FLAG, NORM_CLASSES
from bncodemod.core import rewrite
from bncodemod.model import Status
from bncodemod.settings import Settings
from bncodemod.strategies.stand_in import without_stats_code, without_stats_name

torch = pytest.importorskip("torch")

FIXTURES = Path(__file__).parents[1] / "fixtures" / "class_reference"
STOOD_IN_FOR = [
    norm for norm in NORM_CLASSES.values() if norm.family == "batch" and not norm.abstract
]
RUNNABLE = [norm for norm in STOOD_IN_FOR if norm.dims]  # SyncBatchNorm needs a process group

every_class = pytest.mark.parametrize("norm", STOOD_IN_FOR, ids=lambda norm: norm.name)
every_runnable = pytest.mark.parametrize("norm", RUNNABLE, ids=lambda norm: norm.name)


def run(name: str, code: str) -> Any:
    """A module of that code, so that what it defines pickles."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(code, name, "exec"), module.__dict__)
    return module


def helper(norm: Any) -> Any:
    name = without_stats_name(norm)
    code = without_stats_code(name, norm, norm.qualified)
    return getattr(run(f"without_{norm.name}", f"import torch\n{code}"), name)


def theirs(norm: Any) -> Any:
    return getattr(torch.nn, norm.name)


def channels(norm: Any) -> tuple[int, ...]:
    return () if norm.lazy else (8,)


def batch(norm: Any) -> Any:
    return torch.randn(4, 8, *[3] * norm.dims)


@every_class
def test_it_takes_the_arguments_of_the_class(norm: Any) -> None:
    own = inspect.signature(helper(norm)).parameters.values()
    parameters = inspect.signature(theirs(norm)).parameters.values()
    positional = [
        (p.name, False if p.name == FLAG else p.default)
        for p in parameters
        if p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    assert [(p.name, p.default) for p in own][: len(positional)] == positional


@every_class
def test_nothing_switches_running_statistics_on(norm: Any) -> None:
    by_position = (*channels(norm), 1e-3, 0.2, False, True)
    for layer in (
        helper(norm)(*by_position),
        helper(norm)(*channels(norm), track_running_stats=True),
        helper(norm)(*channels(norm), **{"dtype": torch.float64, FLAG: True}),
    ):
        assert layer.track_running_stats is False
        assert layer.running_mean is layer.running_var is layer.num_batches_tracked is None
    built = helper(norm)(*by_position)
    assert (built.eps, built.momentum, built.affine) == (1e-3, 0.2, False)


@every_runnable
def test_it_computes_what_the_class_computes_bit_for_bit(norm: Any) -> None:
    x = batch(norm)
    before, after = theirs(norm)(*channels(norm)), helper(norm)(*channels(norm))
    assert torch.equal(before(x), after(x))
    assert torch.equal(torch.func.vmap(after)(x[None])[0], after(x))


@every_class
def test_it_is_the_class_to_tests_and_goes_by_its_name(norm: Any) -> None:
    make = helper(norm)
    assert make.__name__ == norm.name
    assert pickle.loads(pickle.dumps(make)) is make
    layer = copy.deepcopy(pickle.loads(pickle.dumps(make(*channels(norm)))))
    assert isinstance(layer, make)
    assert isinstance(layer, theirs(norm))
    assert repr(layer).startswith(f"{norm.name}(")
    assert repr(layer).endswith("track_running_stats=False)")


def test_a_class_that_derives_from_it_cannot_switch_them_on() -> None:
    data = (FIXTURES / "base_class_value.in.py").read_bytes()
    after = rewrite(data, "base_class_value.py", Settings()).after
    assert after is not None
    module = run("base_class_value", after.decode())
    assert [list(layer.buffers()) for layer in module.layers] == [[], [], []]
    assert repr(module.layers[2]).startswith("Scaled(")


def test_a_class_that_stands_is_used_again() -> None:
    function = "\n\ndef {}() -> type[nn.Module]:\n    return nn.BatchNorm2d\n"
    first = rewrite(f"from torch import nn\n{function.format('a')}".encode(), "a.py", Settings())
    assert first.after is not None
    more = first.after + function.format("b").encode()
    second = rewrite(more, "a.py", Settings())
    assert second.after is not None
    assert second.after.count(b"class BatchNorm2dWithoutStats(") == 1
    assert second.after.count(b"return BatchNorm2dWithoutStats\n") == 2
    (safe,) = [f for f in second.findings if f.status is Status.SAFE]
    assert safe.code == "BN103"


def test_a_class_of_another_kind_keeps_its_name() -> None:
    code = (
        "from torch import nn\n\n\nclass BatchNorm2dWithoutStats(nn.Module):\n    pass\n\n\n"
        "def norm() -> type[nn.Module]:\n    return nn.BatchNorm2d\n"
    )
    after = rewrite(code.encode(), "a.py", Settings()).after
    assert after is not None
    assert b"return _BatchNorm2dWithoutStats\n" in after


def test_a_class_of_the_project_has_no_such_class() -> None:
    code = (
        "from torch import nn\n\n\nclass Own(nn.BatchNorm2d):\n    pass\n\n\n"
        "def norm() -> type[nn.Module]:\n    return Own\n"
    )
    result = rewrite(code.encode(), "a.py", Settings())
    assert result.after is None
    assert Status.OPEN in {finding.status for finding in result.findings}
