"""Measures the installed torchvision for ``codemod/bncodemod/catalog/torchvision.json``.

``python tests/catalog/regenerate_torchvision.py`` writes the file anew; ``--check`` only says
whether it would change. Everything is built on the meta device; nothing is downloaded.
"""

# ruff: noqa: E402  (torchvision can be imported only once torchvision_import has run)
from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import pathlib
import pkgutil
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import cache, partial
from types import CodeType, ModuleType
from typing import Any
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import torch
from torch import nn

import torchvision_import

torchvision_import.prepare()

import torchvision
import torchvision.models
import torchvision.ops
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torchvision.models._api import WeightsEnum
from torchvision.models.regnet import BlockParams

JSON = pathlib.Path(__file__).resolve().parents[2] / "codemod/bncodemod/catalog/torchvision.json"
Call = Callable[..., object]


# --- what torchvision has ---------------------------------------------------------------------


@cache
def modules() -> tuple[ModuleType, ...]:
    """Every module of torchvision.models and torchvision.ops, the packages included."""
    found = []
    for package in (torchvision.models, torchvision.ops):
        found.append(package)
        names = [i.name for i in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
        found.extend(importlib.import_module(name) for name in names)
    return tuple(found)


@cache
def callables() -> dict[str, Call]:
    """Every function and class that these modules define, by canonical name."""
    found = {}
    for module in modules():
        for value in vars(module).values():
            if inspect.isfunction(value) or inspect.isclass(value):
                name = canonical(value)
                if name.startswith(("torchvision.models.", "torchvision.ops.")):
                    found[name] = value
    return found


def canonical(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def aliases(value: Call) -> list[str]:
    """Every other path under which torchvision has this very object."""
    paths = {
        f"{module.__name__}.{name}"
        for module in modules()
        for name, other in vars(module).items()
        if other is value
    }
    return sorted(paths - {canonical(value)})


@cache
def registered() -> dict[Call, str]:
    names = torchvision.models.list_models()
    return {torchvision.models.get_model_builder(name): name for name in names}


# --- who builds batch norm --------------------------------------------------------------------


def tracked(built: object) -> list[nn.Module]:
    """The norms of what was built that keep running stats."""
    if not isinstance(built, nn.Module):
        return []
    return [m for m in built.modules() if isinstance(m, _NormBase) and m.track_running_stats]


class Witness:
    """Notes every torchvision callable that is on the stack while a norm is constructed."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._names: dict[CodeType, list[str]] = {}
        for name, value in callables().items():
            function = value.__init__ if inspect.isclass(value) else inspect.unwrap(value)
            if inspect.isfunction(function):
                self._names.setdefault(function.__code__, []).append(name)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        original = _NormBase.__init__

        def init(norm: Any, *args: Any, **kwargs: Any) -> None:
            original(norm, *args, **kwargs)
            frame = inspect.currentframe()
            while frame is not None:
                self.seen.update(self._names.get(frame.f_code, ()))
                frame = frame.f_back

        with mock.patch.object(_NormBase, "__init__", init):
            yield


def requires_norm_layer(value: Call) -> bool:
    """Whether the caller has to say which norm: then the norm is the caller's, not its own."""
    return any(
        "norm_layer" in parameter.name and parameter.default is parameter.empty
        for signature in signatures(value)
        for parameter in signature.parameters.values()
    )


def signatures(value: Any) -> Iterator[inspect.Signature]:
    """Its signature and, as long as that takes any arguments, that of the class below."""
    for owner in value.__mro__ if inspect.isclass(value) else (value,):
        signature = inspect.signature(owner)
        yield signature
        if not any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values()):
            return


# --- what a callable does ---------------------------------------------------------------------


def no_weights(value: Call) -> dict[str, None]:
    return dict.fromkeys(n for n in inspect.signature(value).parameters if "weights" in n)


def recipe_of(name: str, value: Call) -> Callable[..., object]:
    """A function of extra keyword arguments that calls ``value``."""
    import torchvision_recipes

    recipe = torchvision_recipes.recipes().get(name)
    if recipe is not None:
        return partial(recipe, value)
    if value in registered():
        return partial(value, **no_weights(value))
    return value


def build(call: Call, **extra: Any) -> list[nn.Module]:
    with warnings.catch_warnings(), on_meta():
        warnings.simplefilter("ignore")
        return tracked(call(**extra))


@contextlib.contextmanager
def on_meta() -> Iterator[None]:
    """Build on the meta device, but for the widths of RegNet, which are computed with tensors."""
    original = BlockParams.from_init_params

    def from_init_params(*args: Any, **kwargs: Any) -> BlockParams:
        with torch.device("cpu"):
            return original(*args, **kwargs)

    with (
        torch.device("meta"),
        mock.patch.object(BlockParams, "from_init_params", from_init_params),
    ):
        yield


def attempt(call: Call, **extra: Any) -> list[nn.Module] | Exception:
    try:
        return build(call, **extra)
    except Exception as error:
        return error


def verdict(call: Call, norm: type[nn.Module], settings: dict[str, float], before: int) -> str:
    """What ``norm_layer=`` does to this call."""
    layer = partial(norm, **settings, track_running_stats=False)
    left = attempt(call, norm_layer=layer)
    if isinstance(left, TypeError) and "multiple values for" in str(left):
        return "twice"
    if isinstance(left, TypeError) and "unexpected keyword argument 'norm_layer'" in str(left):
        return "unknown"
    if isinstance(left, Exception):
        left = attempt(call, norm_layer=lambda channels: nn.GroupNorm(1, channels))
        if left == []:
            return "group-norm-only"
        raise AssertionError(f"neither batch norm nor group norm: {left!r}")
    if not left:
        return "works"
    assert len(left) == before, f"norm_layer reaches {before - len(left)} norms of {before}"
    return "swallowed"


def position(value: Any) -> int | None:
    """The index of norm_layer among positional arguments."""
    for signature in signatures(value):
        parameters = signature.parameters.values()
        names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        if "norm_layer" in names:
            return names.index("norm_layer")
    return None


# --- pretrained weights -----------------------------------------------------------------------


def legacy_weights(value: Any) -> dict[str, tuple[str, object]]:
    """What handle_legacy_interface was told of this builder: legacy names by today's."""
    todo, seen = [value], set()
    while todo:
        function = todo.pop()
        if not inspect.isfunction(function) or function in seen:
            continue
        seen.add(function)
        closure = inspect.getclosurevars(function).nonlocals
        if "weights" in closure:
            legacy: dict[str, tuple[str, object]] = closure["weights"]
            return legacy
        todo.extend(closure.values())
    return {}


def weights_fields(value: Call) -> dict[str, Any]:
    parameters = inspect.signature(value).parameters
    names = [name for name in parameters if name in ("weights", "weights_backbone")]
    legacy = legacy_weights(value)
    # handle_legacy_interface takes keyword-only parameters by position, too.
    positional = [
        index
        for index, (name, parameter) in enumerate(parameters.items())
        if name in names and (legacy or parameter.kind is not parameter.KEYWORD_ONLY)
    ]
    by_default = any(isinstance(parameters[name].default, WeightsEnum) for name in names)
    return {
        "weights": names + [old for old, _ in legacy.values()],
        "weights_positions": positional,
        "pretrained_by_default": by_default,
        "frozen_when_pretrained": bool(names) and frozen_when_pretrained(value),
    }


def frozen_when_pretrained(value: Call) -> bool:
    """Whether no norm with running stats is left once weights are asked for (none are loaded)."""
    name = registered().get(value)
    if name is None:
        return False
    asked = [{"weights": torchvision.models.get_model_weights(value).DEFAULT}]
    parameters = inspect.signature(value).parameters
    if "weights_backbone" in parameters:
        asked.append({"weights_backbone": parameters["weights_backbone"].default})
    with (
        mock.patch.object(WeightsEnum, "get_state_dict", return_value={}),
        mock.patch.object(nn.Module, "load_state_dict", return_value=None),
    ):
        return all(attempt(value, **weights) == [] for weights in asked)


# --- the entries ------------------------------------------------------------------------------


def kind_of(value: Any) -> str:
    if inspect.isfunction(value):
        return "builder"
    exported = any(
        value.__name__ in getattr(module, "__all__", ())
        for module in modules()
        if module.__name__.startswith("torchvision.models.")
    )
    return "class" if exported and issubclass(value, nn.Module) else "block"


def settings_of(norms: list[Any]) -> tuple[type[nn.Module], dict[str, float], bool]:
    """The class of these norms, what differs from its defaults, and whether they differ."""
    (norm,) = {type(norm) for norm in norms}
    pairs = {(norm.eps, round(norm.momentum, 12)) for norm in norms}
    if len(pairs) > 1:
        return norm, {}, True
    defaults = inspect.signature(norm).parameters
    ((eps, momentum),) = pairs
    own = {"eps": eps, "momentum": momentum}
    return norm, {n: v for n, v in own.items() if v != defaults[n].default}, False


def entry(name: str, value: Call) -> dict[str, Any] | None:
    """All fields of one callable, defaults left out; None if it builds no norm of its own."""
    from torchvision_recipes import NEEDS

    call = recipe_of(name, value)
    norms = build(call)
    if not norms:
        return None
    norm, own, mixed = settings_of(norms)
    assert issubclass(norm, _BatchNorm)
    effect = verdict(call, norm, own, len(norms))
    fields: dict[str, Any] = {
        "name": name,
        "kind": kind_of(value),
        "norm_layer": effect,
        "norm": f"torch.nn.{norm.__name__}",
        **own,
        "mixed": mixed,
        **weights_fields(value),
        "needs": NEEDS.get(name),
        "registered": registered().get(value),
        "aliases": aliases(value),
    }
    if effect in ("works", "group-norm-only"):
        fields["parameter"] = "norm_layer"
        fields["position"] = position(value)
        fields["none_builds_norm"] = attempt(call, norm_layer=None) not in ([], None)
    return {n: v for n, v in fields.items() if v is not None and v is not False and v != []}


def candidates() -> list[str]:
    """The callables that were seen to build norms, and those that only take a norm's class."""
    import torchvision_recipes

    witness = Witness()
    with witness.watching():
        for value in registered():
            build(partial(value, **no_weights(value)))
        for name, recipe in torchvision_recipes.recipes().items():
            build(partial(recipe, callables()[name]))
    own = {name for name in witness.seen if not requires_norm_layer(callables()[name])}
    return sorted(own | set(torchvision_recipes.recipes()))


def measure() -> dict[str, Any]:
    """What the JSON file has to hold."""
    entries = (entry(name, callables()[name]) for name in candidates())
    return {
        "version": torchvision.__version__.split("+")[0],
        "builders": [fields for fields in entries if fields],
    }


def dump(data: dict[str, Any]) -> str:
    """JSON with one builder a line."""
    lines = ",\n".join(json.dumps(fields) for fields in data["builders"])
    return f'{{"version": {json.dumps(data["version"])}, "builders": [\n{lines}\n]}}\n'


def main() -> int:
    text = dump(measure())
    if "--check" in sys.argv[1:]:
        return int(text != JSON.read_text(encoding="utf-8"))
    JSON.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
