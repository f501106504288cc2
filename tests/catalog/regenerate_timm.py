"""Measures the installed timm for ``codemod/bncodemod/catalog/timm.json``.

``python tests/catalog/regenerate_timm.py`` builds every registered model on the meta device, as it
is and with ``norm_layer=``, and writes the file anew (six minutes); ``--check`` only says whether
it would change.
"""

# ruff: noqa: E402  (torchvision can be imported only once torchvision_import has run)
from __future__ import annotations

import pathlib
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[n]) for n in (0, 1)]

import torchvision_import

torchvision_import.prepare()

import timm
from measuring import attempt, dump, norms, tracked, without_defaults, write
from torch import nn

FILE, KEY = "timm.json", "groups"
DEFAULTS = {"eps": 1e-5, "momentum": 0.1}


def make_group_norm(num_features: int, eps: float = 1e-5, **options: Any) -> nn.GroupNorm:
    """What group-norm puts into a file: it hands on what it does not know, and so does this."""
    for name in ("momentum", "track_running_stats", "process_group"):
        options.pop(name, None)
    return nn.GroupNorm(1, num_features, eps=eps, **options)


def signature(found: list[Any]) -> list[tuple[str, int, float, float, bool]]:
    """What has to stay when a norm_layer is passed."""
    return [(type(n).__name__, n.num_features, n.eps, n.momentum, n.affine) for n in found]


def effect(name: str, before: list[Any], own: dict[str, float]) -> str:
    """What ``norm_layer=partial(nn.BatchNorm2d, …, track_running_stats=False)`` does."""
    layer = partial(nn.BatchNorm2d, **own, track_running_stats=False)
    built = attempt(timm.create_model, name, norm_layer=layer)
    if isinstance(built, Exception):
        return "twice" if "multiple values for" in str(built) else "refused"
    found = norms(built, nn.modules.batchnorm._NormBase)
    left = [norm for norm in found if norm.track_running_stats]
    if not left and signature(found) == signature(before):
        return "works"
    return "partly" if len(left) < len(before) else "swallowed"


def takes_group_norm(name: str, before: list[Any], layer: object) -> bool:
    """Whether a GroupNorm comes to stand for every norm."""
    built = attempt(timm.create_model, name, norm_layer=layer)
    return not tracked(built) and len(norms(built, nn.GroupNorm)) == len(before)


def facts(name: str) -> dict[str, Any]:
    """What the catalog says of a model."""
    built = attempt(timm.create_model, name)
    assert not isinstance(built, Exception), (name, built)
    before = tracked(built)
    if not before:
        return {"effect": "no norms"}
    settings = {(norm.eps, norm.momentum) for norm in before}
    if len(settings) > 1:
        return {"effect": "mixed"}
    ((eps, momentum),) = settings
    own = {"eps": eps, "momentum": momentum}
    own = {key: value for key, value in own.items() if value != DEFAULTS[key]}
    found = effect(name, before, own)
    fields: dict[str, Any] = {"effect": found, **own}
    if found == "works":
        fields["group_norm"] = takes_group_norm(name, before, make_group_norm)
        fields["own_group_norm"] = takes_group_norm(name, before, "groupnorm")
    return without_defaults(fields)


def measure(names: Iterable[str] | None = None) -> Iterator[dict[str, Any]]:
    """One entry for each combination of facts, with the models for which it holds."""
    groups: dict[tuple[tuple[str, Any], ...], list[str]] = {}
    for name in timm.list_models() if names is None else names:
        groups.setdefault(tuple(sorted(facts(name).items())), []).append(name)
    for key, members in sorted(groups.items(), key=lambda item: str(item[0])):
        yield {**dict(key), "models": sorted(members)}


def rendered() -> str:
    """The text of the data file."""
    return dump(timm.__version__, KEY, measure())


def main() -> int:
    return write(FILE, timm.__version__, KEY, measure(), check="--check" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
