"""What to pass for a parameter, from its annotation, its name and its default."""

from __future__ import annotations

import enum
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import nn

from bncodemod.verify.arguments import Arguments, Fresh
from bncodemod.verify.names import CHANNELS, Wanted, by_name

_DEEPEST = 3  # arguments of arguments
_UNKNOWN = object()  # the table does not have the name
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
        Wanted.BACKBONE: Fresh(
            f"Conv2d(3, {CHANNELS}, 3, padding=1)", lambda: nn.Conv2d(3, CHANNELS, 3, padding=1)
        ),
        Wanted.SETTINGS: Fresh("Settings()", Settings),
    }
    return makers.get(value, value) if isinstance(value, str) else value


class Deduction:
    """Chooses arguments for the callables of one of the user's modules."""

    def __init__(self, namespace: types.ModuleType) -> None:
        self._namespace = namespace

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
        self, parameter: inspect.Parameter, target: Callable[..., Any] | None, depth: int = 0
    ) -> Any:
        """What to pass for one parameter of ``target``."""
        special = self._by_annotation(parameter.annotation, depth)
        if special is not None:
            return special
        named = by_name(parameter.name, _UNKNOWN)
        if named == Wanted.BLOCK:
            named = self._block(target) or nn.Identity
        return _fitted(plain(named), parameter.annotation)

    def named(self, name: str, target: Callable[..., Any] | None = None) -> Any:
        """What to pass for a parameter of which only the name is known."""
        return self.value(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY), target, _DEEPEST
        )

    def _by_annotation(self, annotation: Any, depth: int) -> Any:
        """A value where the annotation is a certain class, rather than a number or a container."""
        for kind in _alternatives(annotation):
            if typing.get_origin(kind) is typing.Literal:
                return typing.get_args(kind)[0]
            if not inspect.isclass(kind) or kind in _GENERIC or kind is nn.Module:
                continue
            if issubclass(kind, enum.Enum):
                return next(iter(kind), None)
            if _is_users(kind) and depth < _DEEPEST and not inspect.isabstract(kind):
                arguments = Arguments.of((), self.required(kind, depth + 1))
                text = f"{kind.__name__}({arguments.text})"
                return Fresh(text, _calling(arguments, kind))
        return None

    def _block(self, target: Callable[..., Any] | None) -> type[nn.Module] | None:
        """A class of the user's module that other classes are made of."""
        blocks = [
            (rank, kind)
            for kind in vars(self._namespace).values()
            if inspect.isclass(kind) and issubclass(kind, nn.Module) and kind is not target
            for rank, mark in enumerate(("BasicBlock", "Bottleneck", "Block", "Unit", "Layer"))
            if mark in kind.__name__
        ]
        return min(blocks, key=lambda pair: pair[0])[1] if blocks else None


def parameters(target: Callable[..., Any]) -> list[inspect.Parameter]:
    """The named parameters of a call, with their annotations evaluated where that works."""
    try:
        signature = inspect.signature(target, eval_str=True)
    except Exception:
        try:
            signature = inspect.signature(target)
        except (TypeError, ValueError):
            return []
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [each for each in signature.parameters.values() if each.kind in named]


def takes_any_keyword(target: Callable[..., Any]) -> bool:
    """Whether ``target`` has ``**kwargs``."""
    try:
        kinds = [each.kind for each in inspect.signature(target).parameters.values()]
    except (TypeError, ValueError):
        return True
    return inspect.Parameter.VAR_KEYWORD in kinds


def _calling(arguments: Arguments, kind: type) -> Callable[[], Any]:
    return lambda: arguments.call(kind)


def _asks_for_weights(parameter: inspect.Parameter) -> bool:
    name = parameter.name.lower()
    return bool(parameter.default) and ("pretrained" in name or "weights" in name)


def _is_users(kind: type) -> bool:
    return kind.__module__.split(".")[0] not in ("builtins", "torch", "typing", "collections")


def _alternatives(annotation: Any) -> Sequence[Any]:
    """The annotations that a union holds, ``None`` left out."""
    if isinstance(annotation, str) or annotation is inspect.Parameter.empty:
        return ()
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [kind for kind in typing.get_args(annotation) if kind is not type(None)]
    return (annotation,)


def _fitted(value: Any, annotation: Any) -> Any:
    """The value that the name suggests, made to fit the annotation."""
    kinds = [typing.get_origin(kind) or kind for kind in _alternatives(annotation)]
    arguments = [typing.get_args(kind) for kind in _alternatives(annotation)]
    if not kinds:
        return CHANNELS if value is _UNKNOWN else value
    for kind, inside in zip(kinds, arguments):
        fitted = _fit(value, kind, inside)
        if fitted is not None:
            return fitted
    return None if value is _UNKNOWN else value


def _fit(value: Any, kind: Any, inside: tuple[Any, ...]) -> Any:
    number = isinstance(value, (int, float))
    if kind is bool:
        return value if isinstance(value, bool) else False
    if kind is int:
        return int(value) if number else CHANNELS
    if kind is float:
        return float(value) if number else 0.5
    if kind is str:
        return value if isinstance(value, str) else ""
    if kind is tuple:
        count = len(inside) if inside and inside[-1] is not Ellipsis else 2
        return (value if number else CHANNELS,) * count
    if kind in (list, Sequence, typing.Sequence, Iterator):
        return value if isinstance(value, list) else [value if number else CHANNELS] * 4
    if kind is dict:
        return {}
    if inspect.isclass(kind) and issubclass(kind, nn.Module):
        return value if isinstance(value, Fresh) else Fresh("Identity()", nn.Identity)
    if inspect.isclass(value) or isinstance(value, Fresh):
        return value
    return nn.Identity if kind is type or kind is Callable else None

