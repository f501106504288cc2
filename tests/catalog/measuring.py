"""What the scripts that measure libraries share: to build on the meta device, and to look."""

from __future__ import annotations

import contextlib
import inspect
import json
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

CATALOG = Path(__file__).resolve().parents[2] / "codemod/bncodemod/catalog"
Build = Callable[..., object]


def tracked(built: object) -> list[Any]:
    """The norms of what was built that keep running stats."""
    if isinstance(built, nn.Module):
        return [m for m in built.modules() if isinstance(m, _NormBase) and m.track_running_stats]
    return []


def norms(built: object, kind: type[nn.Module]) -> list[Any]:
    """The norms of a class in what was built."""
    modules = built.modules() if isinstance(built, nn.Module) else ()
    return [m for m in modules if isinstance(m, kind)]


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Build on the meta device without warnings."""
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        yield


def attempt(build: Build, *args: Any, **kwargs: Any) -> object:
    """What a call builds, on the CPU where it looks at values; the exception where it raises."""
    try:
        try:
            with quietly():
                return build(*args, **kwargs)
        except (RuntimeError, NotImplementedError) as error:
            if "meta" not in str(error):
                raise
            return build(*args, **kwargs)
    except Exception as error:
        return error


def position(build: Any, parameter: str) -> int | None:
    """The index of a parameter among positional arguments."""
    names = [
        p.name
        for p in inspect.signature(build).parameters.values()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.POSITIONAL_ONLY)
    ]
    return names.index(parameter) if parameter in names else None


def paths(value: object, modules: Iterable[ModuleType]) -> list[str]:
    """Every path under which modules have this very object."""
    found = (
        f"{module.__name__}.{name}"
        for module in modules
        for name, other in vars(module).items()
        if other is value
    )
    return sorted(set(found))


def without_defaults(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that say something."""
    return {n: v for n, v in fields.items() if v is not None and v is not False and v != []}


def write(name: str, version: str, key: str, entries: Iterable[object], check: bool) -> int:
    """Write a data file with one entry a line; with ``check`` only say whether it would change."""
    text = dump(version, key, entries)
    path = CATALOG / name
    if check:
        return int(text != path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")
    return 0


def dump(version: str, key: str, entries: Iterable[object]) -> str:
    """The text of a data file."""
    lines = ",\n".join(json.dumps(entry) for entry in entries)
    return f'{{"version": {json.dumps(version)}, "{key}": [\n{lines}\n]}}\n'
