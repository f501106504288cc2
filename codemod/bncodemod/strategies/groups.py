"""How many groups a GroupNorm gets, as a number here and as code in the emitted helper."""

from __future__ import annotations

import ast
from math import gcd

from bncodemod.settings import Settings

HELPER = "make_group_norm"
PARAMETERS = ("num_features", "eps", "momentum", "affine", "track_running_stats")


def num_groups(channels: int, settings: Settings) -> int | None:
    """The groups of a layer of ``channels`` channels; None where the fallback is ``error``.

    ``settings.groups`` if it divides the channels and leaves ``min_group_size`` in each. Otherwise
    ``divisor`` takes the largest divisor of the channels for which the same holds (1 if there is
    none), ``gcd`` the greatest common divisor with ``groups`` (as Opacus does), ``per-channel`` one
    group a channel (the fallback of PyTorch's page "Patching Batch Norm").
    """
    groups, smallest = settings.groups, settings.min_group_size
    if channels % groups == 0 and channels // groups >= smallest:
        return groups
    if settings.group_fallback == "gcd":
        return gcd(groups, channels)
    if settings.group_fallback == "per-channel":
        return channels
    if settings.group_fallback == "error":
        return None
    fitting = (g for g in range(1, groups + 1) if channels % g == 0 and channels // g >= smallest)
    return max(fitting, default=1)


def is_helper(function: ast.FunctionDef) -> bool:
    """Whether a function of the file takes batch norm's arguments, as the factory does."""
    names = [argument.arg for argument in function.args.args]
    return names[: len(PARAMETERS)] == list(PARAMETERS)


def helper_code(name: str, group_norm: str, settings: Settings) -> str:
    """The source of the factory that stands in for a batch norm class whose channels vary."""
    rule, body = _rule(settings)
    return f'''\
def {name}(
    num_features,
    eps=1e-5,
    momentum=0.1,
    affine=True,
    track_running_stats=True,
    device=None,
    dtype=None,
    process_group=None,
    **kwargs,
):
    """Build the GroupNorm that stands in for a BatchNorm of ``num_features`` channels.

    {rule}
    It takes BatchNorm's and SyncBatchNorm's arguments; momentum, track_running_stats and
    process_group mean nothing here.
    """
{body}
    return {group_norm}(
        num_groups, num_features, eps=eps, affine=affine, device=device, dtype=dtype, **kwargs
    )
'''


def _rule(settings: Settings) -> tuple[str, str]:
    groups, smallest = settings.groups, settings.min_group_size
    fits = f"num_features % {groups} == 0 and num_features // {groups} >= {smallest}"
    if settings.group_fallback == "divisor":
        return (
            "The number of groups is the largest divisor of num_features up to"
            f" {groups} that leaves\n    at least {smallest} channels in a group.",
            "    num_groups = 1\n"
            f"    for divisor in range(2, {groups} + 1):\n"
            f"        if num_features % divisor == 0 and num_features // divisor >= {smallest}:\n"
            "            num_groups = divisor",
        )
    wanted = f"{groups} groups of at least {smallest} channels"
    if settings.group_fallback == "gcd":
        return (
            f"{wanted}, else as many as the greatest common\n    divisor of"
            f" {groups} and num_features.",
            f"    num_groups = {groups}\n"
            f"    if not ({fits}):\n"
            "        while num_features % num_groups:\n"
            "            num_groups -= 1\n"
            f"            while {groups} % num_groups:\n"
            "                num_groups -= 1",
        )
    if settings.group_fallback == "per-channel":
        return (
            f"{wanted}, else one group a channel.",
            f"    num_groups = num_features\n    if {fits}:\n        num_groups = {groups}",
        )
    return (
        f"{wanted}, else a ValueError.",
        f"    num_groups = {groups}\n"
        f"    if not ({fits}):\n"
        f'        raise ValueError(f"{{num_features}} channels do not make {wanted}")',
    )
