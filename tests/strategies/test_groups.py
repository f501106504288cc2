"""The rule for the number of groups, and the helper that computes it at run time."""

from __future__ import annotations

import inspect
import itertools
import math

import pytest

from bncodemod.settings import GROUP_FALLBACKS, Settings
from bncodemod.strategies.groups import HELPER, PARAMETERS, helper_code, num_groups

torch = pytest.importorskip("torch")

CHANNELS = range(1, 1025)
GROUPINGS = [
    pytest.param(
        Settings("group-norm", groups, smallest, fallback), id=f"{groups}-{smallest}-{fallback}"
    )
    for (groups, smallest), fallback in itertools.product(
        [(32, 4), (16, 1), (6, 2)], GROUP_FALLBACKS
    )
]


def helper(settings: Settings):  # type: ignore[no-untyped-def]
    namespace = {"nn": torch.nn}
    exec(helper_code(HELPER, "nn.GroupNorm", settings), namespace)
    return namespace[HELPER]


@pytest.mark.parametrize("settings", GROUPINGS)
def test_the_emitted_helper_follows_the_same_rule(settings: Settings) -> None:
    make = helper(settings)
    for channels in CHANNELS:
        expected = num_groups(channels, settings)
        if expected is None:
            with pytest.raises(ValueError, match=str(channels)):
                make(channels, device="meta")
        else:
            norm = make(channels, device="meta")
            assert (norm.num_groups, norm.num_channels) == (expected, channels)


def test_the_default_rule_takes_the_largest_divisor_that_fits() -> None:
    for channels in CHANNELS:
        fitting = [g for g in range(1, 33) if channels % g == 0 and channels // g >= 4]
        assert num_groups(channels, Settings()) == max(fitting, default=1)


@pytest.mark.parametrize("channels", [4, 5, 7, 32, 37, 64, 128, 1154])
def test_the_default_rule_keeps_the_features(channels: int) -> None:
    """On (N, C) inputs, where one channel a group returns nothing but the bias."""
    norm = helper(Settings())(channels)
    out = norm(torch.randn(3, channels))
    assert out.std() > 0.1
    assert not torch.allclose(out.abs(), torch.ones_like(out))


@pytest.mark.parametrize(
    ("fallback", "expected"), [("divisor", 12), ("gcd", 16), ("per-channel", 48), ("error", None)]
)
def test_the_fallback_decides_where_the_wanted_groups_do_not_fit(
    fallback: str, expected: int | None
) -> None:
    assert num_groups(48, Settings(group_fallback=fallback)) == expected
    assert num_groups(128, Settings(group_fallback=fallback)) == 32


def test_gcd_is_the_greatest_common_divisor() -> None:
    settings = Settings(group_fallback="gcd")
    assert [num_groups(c, settings) for c in (1, 6, 40, 96)] == [
        math.gcd(32, c) for c in (1, 6, 40, 96)
    ]


def test_the_helper_takes_the_arguments_of_batch_norm() -> None:
    own = list(inspect.signature(helper(Settings())).parameters)
    batch_norm = list(inspect.signature(torch.nn.BatchNorm2d).parameters)
    assert own[:7] == batch_norm[:7]
    assert own[: len(PARAMETERS)] == list(PARAMETERS)


def test_eps_affine_bias_device_and_dtype_reach_the_group_norm() -> None:
    make = helper(Settings())
    norm = make(8, 1e-3, 0.3, True, False, "meta", torch.float64, bias=False)
    assert norm.eps == 1e-3
    assert norm.weight.device.type == "meta"
    assert norm.weight.dtype == torch.float64
    assert norm.bias is None
    assert not make(8, affine=False).affine
