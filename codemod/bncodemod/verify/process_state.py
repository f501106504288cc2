"""What a module may change for all that its process does afterwards."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as of_modules

from bncodemod.verify.looking import is_instance, text
from bncodemod.verify.namesakes import is_installed

Holder = type | ModuleType


@dataclass(frozen=True)
class State:
    """The settings of torch, by the names to call them by, and what the names in it stand for."""

    settings: dict[str, Any]
    names: list[tuple[Holder, dict[str, Any]]]


def state() -> State:
    """What is there now."""
    return State(_settings(), [(holder, dict(_named(holder))) for holder in _holders()])


def changes(before: State) -> list[str]:
    """The names of what is another than before, or new."""
    now = _settings()
    found = [name for name, value in before.settings.items() if now[name] != value]
    for holder, names in before.names:
        seen = dict(_named(holder))
        found += [
            f"{holder.__name__}.{name}"
            for name in {**names, **seen}
            if names.get(name) is not seen.get(name) and not _is_compilers(seen.get(name))
        ]
    return [*found, *_put_into_libraries()]


def _settings() -> dict[str, Any]:
    return {
        "torch.set_default_dtype": torch.get_default_dtype(),
        "torch.set_default_device": torch.empty(0).device,
        "torch.set_grad_enabled": torch.is_grad_enabled(),
        **{f"{of_modules.__name__}.{name}": tuple(vars(of_modules)[name]) for name in _hooks()},
    }


@functools.cache
def _hooks() -> list[str]:
    """The tables of what is called for every module; others of torch's say how, for good."""
    names = (name for name in vars(of_modules) if re.fullmatch("_global_.*_hooks", name))
    return [name for name in names if isinstance(vars(of_modules)[name], dict)]


@functools.cache
def _holders() -> tuple[Holder, ...]:
    """The public modules of torch, and its layers."""
    modules = [
        module
        for name, module in sys.modules.items()
        if name.partition(".")[0] == "torch" and type(module) is ModuleType and "._" not in name
    ]
    return (*modules, torch.Tensor, nn.Parameter, *_layers(nn.Module))


def _layers(layer: type[nn.Module]) -> Iterator[type]:
    if layer.__module__.startswith("torch.nn.modules."):
        yield layer
        for each in layer.__subclasses__():
            yield from _layers(each)


def _named(holder: Holder) -> Iterator[tuple[str, Any]]:
    """The functions of a class; what a module has that can be called."""
    if isinstance(holder, type):
        return ((k, value) for k, value in vars(holder).items() if type(value) is FunctionType)
    return ((name, value) for name, value in vars(holder).items() if callable(value))


def _is_compilers(value: object) -> bool:
    """Whether a function is one that torch.compile has put around another, as it does for good."""
    if type(value) is not FunctionType:
        return False
    return value.__code__.co_filename.startswith(_COMPILERS)


_COMPILERS = tuple(
    os.path.join(os.path.dirname(torch.__file__), name) for name in ("_compile.py", "_dynamo")
)


def _put_into_libraries() -> list[str]:
    """Where a user's class or function stands for one of a library that has to do with torch."""
    libraries = (
        (name, module)
        for name, module in list(sys.modules.items())
        if type(module) is ModuleType and name.partition(".")[0] != "torch"
        if vars(module).get("torch") is torch or vars(module).get("nn") is nn
        if not _is_users_file(text(module, "__file__"))
    )
    return [
        f"{library}.{name}"
        for library, module in libraries
        for name, value in _of_library(module)
        if _is_users(value)
    ]


def _of_library(module: ModuleType) -> Iterator[tuple[str, Any]]:
    for name, value in list(vars(module).items()):
        yield name, value
        if type(value) is type and value.__module__ == module.__name__:
            for method, function in list(vars(value).items()):
                yield f"{name}.{method}", function


def _is_users(value: object) -> bool:
    """Whether a class or function was written in a file that is not installed."""
    if type(value) is functools.partial:
        value = value.func
    if is_instance(value, type):
        methods = (each for each in vars(value).values() if type(each) is FunctionType)
        value = next(methods, None)
    return type(value) is FunctionType and _is_users_file(value.__code__.co_filename)


@functools.cache
def _is_users_file(path: str) -> bool:
    return os.path.isabs(path) and not is_installed(path)
