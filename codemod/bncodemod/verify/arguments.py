"""The arguments of a call that can be made again and again."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Fresh:
    """A value made anew for each call, as a module: two models must not share it."""

    text: str
    make: Callable[[], Any]

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Arguments:
    """The text of a call's arguments, and how to make them.

    ``values`` are the keywords that may be changed when the call fails; None where somebody else
    has chosen them. ``makers`` are the ids of classes and functions, which may share their text.
    """

    text: str
    make: Callable[[], tuple[tuple[Any, ...], dict[str, Any]]]
    values: dict[str, Any] | None = field(default=None, compare=False)
    makers: frozenset[int] = frozenset()

    @classmethod
    def of(cls, positional: tuple[Any, ...], keywords: dict[str, Any]) -> Arguments:
        """These very values, with each :class:`Fresh` among them made anew."""
        parts = [*map(show, positional), *(f"{name}={show(v)}" for name, v in keywords.items())]

        def make() -> tuple[tuple[Any, ...], dict[str, Any]]:
            return refresh(positional), refresh(keywords)

        values = (*positional, *keywords.values())
        makers = frozenset(id(value) for value in values if callable(value))
        return cls(", ".join(parts), make, makers=makers)

    @classmethod
    def deduced(cls, values: dict[str, Any]) -> Arguments:
        """Keywords that were guessed, and may be changed."""
        whole = cls.of((), values)
        return cls(whole.text, whole.make, values, whole.makers)

    @classmethod
    def written(cls, text: str, module: ModuleType) -> Arguments:
        """The text of a call's arguments as it stands in ``module``."""

        def make() -> tuple[tuple[Any, ...], dict[str, Any]]:
            names = {"torch": torch, "nn": nn, **vars(module), "__bncodemod_call__": _capture}
            return eval(f"__bncodemod_call__({text})", names)  # type: ignore[no-any-return]

        return cls(text, make)

    def call(self, target: Callable[..., Any]) -> Any:
        positional, keywords = self.make()
        return target(*positional, **keywords)


def _capture(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, kwargs


def refresh(value: Any) -> Any:
    """The same value, with what must not be shared made anew."""
    if isinstance(value, Fresh):
        return value.make()
    if type(value) in (list, tuple):
        return type(value)(refresh(item) for item in value)
    if type(value) is dict:
        return {key: refresh(item) for key, item in value.items()}
    return value


def show(value: Any) -> str:
    """A value as text for a report: short, classes and functions by their names."""
    if isinstance(value, Fresh):
        return value.text
    if inspect.isclass(value) or inspect.isroutine(value):
        return str(getattr(value, "__name__", value))
    if type(value) in (list, tuple):
        inside = ", ".join(map(show, value))
        return f"[{inside}]" if type(value) is list else f"({inside}{',' * (len(value) == 1)})"
    if isinstance(value, nn.Module):
        return f"{type(value).__name__}(…)"
    if isinstance(value, functools.partial):
        keywords = (f"{name}={show(each)}" for name, each in value.keywords.items())
        return f"partial({', '.join([show(value.func), *map(show, value.args), *keywords])})"
    text = repr(value)
    return text if len(text) <= 60 else f"{type(value).__name__}(…)"
