"""What to pass for a parameter, from its annotation, its name and its default."""

from __future__ import annotations

import collections.abc
import enum
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from bncodemod.verify.arguments import Arguments, Fresh
from bncodemod.verify.harvest import Harvest
from bncodemod.verify.looking import is_subclass, text
from bncodemod.verify.names import CHANNELS, Wanted, by_name

_DEEPEST = 3  # arguments of arguments
_SWITCHES = (bool, str, enum.Enum)  # what asks for pretrained weights
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_PAIR = re.compile(r"size|stride|padding|dilation|resolution|shape", re.IGNORECASE)
_UNKNOWN = object()  # the table does not have the name
_SEQUENCES = (list, tuple, collections.abc.Sequence, collections.abc.Iterable)
_GENERIC = (int, float, bool, str, bytes, object, list, tuple, dict, set, type)


class Settings(dict[str, Any]):
    """A configuration object: any attribute or key is there, with the value its name suggests."""

    def __missing__(self, name: str) -> Any:
        value = by_name(str(name), CHANNELS)
        self[name] = plain(value)
        return self[name]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __repr__(self) -> str:
        return "Settings()"


def plain(value: Any) -> Any:
    """What the table wants, made without knowing the user's module."""
    makers: dict[str, Any] = {
        Wanted.NORM: nn.BatchNorm2d,
        Wanted.ACTIVATION: nn.ReLU,
        Wanted.CONVOLUTION: nn.Conv2d,
        Wanted.BLOCK: nn.Identity,
        Wanted.MODULE: Fresh("Identity()", nn.Identity),
        Wanted.BACKBONE: Fresh(
            f"Conv2d(3, {CHANNELS}, 3, padding=1)", lambda: nn.Conv2d(3, CHANNELS, 3, padding=1)
        ),
        Wanted.SETTINGS: Fresh("Settings()", Settings),
    }
    return makers.get(value, value) if isinstance(value, str) else value


class Deduction:
    """Chooses arguments for the user's callables."""

    def __init__(self, harvest: Harvest) -> None:
        self._harvest = harvest

    def required(self, target: Callable[..., Any], depth: int = 0) -> dict[str, Any]:
        """Keywords for what ``target`` cannot be called without, and no pretrained weights."""
        values: dict[str, Any] = {}
        for parameter in parameters(target):
            if parameter.default is parameter.empty:
                values[parameter.name] = self.value(parameter, target, depth)
            elif _asks_for_weights(parameter):
                values[parameter.name] = False if parameter.default is True else None
        return values

    def value(
        self, parameter: inspect.Parameter, target: Callable[..., Any], depth: int = 0
    ) -> Any:
        """What to pass for one parameter of ``target``."""
        if names_weights(parameter.name) and _takes_none(parameter.annotation):
            return None
        special = self._by_annotation(parameter.annotation, depth)
        if special is not None:
            return special
        named = by_name(parameter.name, _UNKNOWN)
        if named == Wanted.BLOCK:
            named = _block(target) or nn.Identity
        return _fitted(plain(named), parameter.annotation, 2 if _PAIR.search(parameter.name) else 4)

    def named(self, name: str, target: Callable[..., Any]) -> Any:
        """What to pass under a name, though it has a default or only ``**kwargs`` takes it."""
        for each in (*parameters(target), *parameters_of_bases(target)):
            if each.name == name:
                return self.value(each.replace(default=each.empty), target)
        return self.value(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY), target)

    def _by_annotation(self, annotation: Any, depth: int) -> Any:
        """A value where the annotation is a certain class, rather than a number or a container."""
        for kind in _alternatives(annotation):
            inside = typing.get_args(kind)
            origin = typing.get_origin(kind)
            if origin is typing.Literal:
                return inside[0]
            if origin is type:
                for each in _alternatives(inside[0]):
                    if inspect.isclass(each) and _is_users(each):
                        return each
            if origin in _SEQUENCES and inside:
                item = self._by_annotation(inside[0], depth)
                if item is not None:
                    return [item, item]
            if inspect.isclass(kind) and kind not in _GENERIC and kind is not nn.Module:
                if issubclass(kind, enum.Enum):
                    return next(iter(kind), None)
                if _is_users(kind) and depth < _DEEPEST and not inspect.isabstract(kind):
                    return self.instance(kind, depth)
        return None

    def instance(self, kind: type, depth: int = 0) -> Fresh:
        """An instance of a class, built as another model builds it where that was seen."""
        arguments = Arguments.of((), self.required(kind, depth + 1))
        for seen in self._harvest.sightings(kind):
            arguments = self._harvest.arguments(seen)
            break
        return Fresh(f"{kind.__name__}({arguments.text})", lambda: arguments.call(kind))


def _block(target: Callable[..., Any]) -> type[nn.Module] | None:
    """A class of the target's file that others are made of."""
    home = sys.modules.get(text(target, "__module__"))
    blocks = [
        (rank, kind)
        for kind in (vars(home).values() if home is not None else ())
        if is_subclass(kind, nn.Module) and kind is not target
        for rank, end in enumerate(("BasicBlock", "Bottleneck", "Block", "Unit", "Layer"))
        if kind.__name__.endswith(end)
    ]
    return min(blocks, key=lambda pair: pair[0])[1] if blocks else None


def parameters(target: Callable[..., Any]) -> list[inspect.Parameter]:
    """The named parameters of a call, with their annotations evaluated where that works."""
    return [each for each in _signature(target) if each.kind in _NAMED]


def parameters_of_bases(target: Callable[..., Any]) -> list[inspect.Parameter]:
    """Those to which the ``**kwargs`` of a class may go: of the constructors of its bases."""
    if not inspect.isclass(target):
        return []
    bases = [kind for kind in target.__mro__[1:] if "__init__" in vars(kind)]
    return [each for kind in bases if kind not in (nn.Module, object) for each in parameters(kind)]


def takes_any_keyword(target: Callable[..., Any]) -> bool:
    """Whether ``target`` has ``**kwargs``."""
    return any(each.kind is each.VAR_KEYWORD for each in _signature(target))


def takes_any(target: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameter ``*args`` of ``target``, if it has one."""
    return [each for each in _signature(target) if each.kind is each.VAR_POSITIONAL]


def _signature(target: Callable[..., Any]) -> Sequence[inspect.Parameter]:
    for evaluated in (True, False):
        try:
            signature = inspect.signature(target, eval_str=evaluated)
        except Exception:
            continue
        return list(signature.parameters.values())
    return ()


def _asks_for_weights(parameter: inspect.Parameter) -> bool:
    default = parameter.default
    return names_weights(parameter.name) and bool(default) and isinstance(default, _SWITCHES)


def names_weights(name: str) -> bool:
    """Whether a parameter of this name asks for pretrained weights."""
    return "pretrained" in name.lower() or "weights" in name.lower()


def _is_users(kind: type) -> bool:
    return kind.__module__.split(".")[0] not in ("builtins", "torch", "typing", "collections")


def _alternatives(annotation: Any) -> Sequence[Any]:
    """The annotations that a union holds, ``None`` left out."""
    if isinstance(annotation, str) or annotation is inspect.Parameter.empty:
        return ()
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [kind for kind in typing.get_args(annotation) if kind is not type(None)]
    return (annotation,)


def _takes_none(annotation: Any) -> bool:
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return is_union and type(None) in typing.get_args(annotation)


def _fitted(value: Any, annotation: Any, count: int) -> Any:
    """The value that the name suggests, made to fit the annotation; lists have ``count`` items."""
    kinds = [typing.get_origin(kind) or kind for kind in _alternatives(annotation)]
    arguments = [typing.get_args(kind) for kind in _alternatives(annotation)]
    if not kinds:
        return CHANNELS if value is _UNKNOWN else value
    for kind, inside in zip(kinds, arguments, strict=True):
        fitted = _fit(value, kind, inside, count)
        if fitted is not None:
            return fitted
    return None if value is _UNKNOWN else value


def _fit(value: Any, kind: Any, inside: tuple[Any, ...], count: int) -> Any:
    number = isinstance(value, (int, float))
    if kind is bool:
        return value if isinstance(value, bool) else False
    if kind is int:
        value = value[0] if isinstance(value, list) else value
        return int(value) if isinstance(value, (int, float)) else CHANNELS
    if kind is float:
        return float(value) if number else 0.5
    if kind is str:
        return value if isinstance(value, str) else ""
    if kind is tuple:
        count = len(inside) if inside and inside[-1] is not Ellipsis else count
        item = value[0] if isinstance(value, list) else value if number else CHANNELS
        return (item,) * count
    if kind in _SEQUENCES:
        return value if isinstance(value, list) else [value if number else CHANNELS] * count
    if kind is dict:
        return {}
    if inspect.isclass(kind) and issubclass(kind, nn.Module):
        return value if isinstance(value, Fresh) else Fresh("Identity()", nn.Identity)
    if inspect.isclass(value) or isinstance(value, Fresh):
        return value
    return nn.Identity if kind is type or kind is Callable else None
