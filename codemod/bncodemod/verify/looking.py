"""Looking at a user's objects so that they have no say in what is seen.

A module's global may be a proxy or a stand-in for a library that is not installed: it may have
every attribute, give itself for each, raise whatever it likes, and name any class as its own.
"""

from __future__ import annotations

import inspect
import os
from types import FunctionType, MethodType
from typing import Any


def is_instance(value: object, *kinds: type) -> bool:
    """Whether it is an instance by its type: ``isinstance`` also asks the object."""
    return issubclass(type(value), kinds)


def is_subclass(value: object, kind: type) -> bool:
    """Whether it is a class that is made of ``kind``."""
    return is_instance(value, type) and kind in type.mro(value)  # type: ignore[arg-type]


def attribute(value: object, name: str) -> Any:
    """An attribute; None where there is none or it cannot be had."""
    try:
        return getattr(value, name, None)
    except Exception:
        return None


def text(value: object, name: str) -> str:
    """An attribute that is to be a string, as ``__module__``; empty where it is none."""
    found = attribute(value, name)
    return found if type(found) is str else ""


def file_of(module: object) -> str:
    """The real path of a module's file; empty where it has none."""
    file = text(module, "__file__")
    return os.path.realpath(file) if file else ""


def function_below(value: object) -> FunctionType | None:
    """The function below the decorators of one, or of a bound method; None where it is none."""
    if type(value) is MethodType:
        value = value.__func__
    try:
        value = inspect.unwrap(value)  # type: ignore[arg-type]
    except Exception:
        return None
    return value if type(value) is FunctionType else None
