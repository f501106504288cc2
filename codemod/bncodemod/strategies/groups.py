"""How many groups a GroupNorm gets, as a number here and as code in the emitted helpers."""

from __future__ import annotations

import ast
import textwrap
from math import gcd

from bncodemod.catalog.torch import NormClass
from bncodemod.settings import Settings
from bncodemod.strategies.stand_in import name_line, signature, takes_arguments

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


def class_helper_name(norm: NormClass) -> str:
    """The name of the class that stands in for ``norm`` where a class is needed."""
    return f"GroupNormAs{norm.name.lstrip('_')}"


def is_class_helper(definition: ast.ClassDef) -> bool:
    """Whether a class of the file is a GroupNorm that takes batch norm's arguments."""
    return takes_arguments(definition, "GroupNorm", PARAMETERS)


def helper_code(name: str, group_norm: str, settings: Settings) -> str:
    """The source of the factory that stands in for a batch norm class whose channels vary."""
    rule, body = rule_code(settings)
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


def class_helper_code(name: str, norm: NormClass, group_norm: str, settings: Settings) -> str:
    """The source of the class that stands in for a batch norm where a class is needed."""
    rule, body = rule_code(settings)
    return f'''\
class {name}({group_norm}):
    """GroupNorm that stands in for {norm.name} where the class itself is needed.

    {rule}
    It takes {norm.name}'s arguments and keeps no running statistics, as one with
    track_running_stats=False; code written for {norm.name} finds its attributes.
    """

    def __init__(
        self,
{signature(norm)}\
    ):
{textwrap.indent(body, "    ")}
        self.num_features = num_features
        self.momentum = momentum
        self.track_running_stats = False
        self.running_mean = self.running_var = self.num_batches_tracked = None
        super().__init__(
            num_groups, num_features, eps=eps, affine=affine, device=device, dtype=dtype, **kwargs
        )

    def _check_input_dim(self, input):
        """Accept every input, as GroupNorm does."""

    def _get_name(self):
        return type(self).__qualname__.rpartition(".")[2]  # what print(model) shows


{name_line(name, norm)}'''


def rule_code(settings: Settings) -> tuple[str, str]:
    """The rule for a docstring, and the code that sets ``num_groups`` from ``num_features``."""
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
