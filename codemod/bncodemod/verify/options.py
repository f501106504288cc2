"""How the verifier runs: defaults < ``[tool.bncodemod.verify]`` < command line."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bncodemod.settings import Configuration, ConfigurationError, nearest
from bncodemod.verify.model import Check, Example

_PLACE = "tool.bncodemod.verify"
_DEVICE = re.compile(r"auto|cpu|cuda(?::\d+)?")
_EXAMPLE_KEYS = ("name", "arguments", "inputs", "batch")


@dataclass(frozen=True, slots=True)
class Options:
    """How the verifier runs.

    ``timeout`` is seconds for one step (an import, a build, a check), ``module_timeout`` for one
    module; ``memory`` is GiB for a worker, 0 for three quarters of what the machine has.
    ``examples`` is a Python file, ``example`` what is said of candidates without one. ``against``
    is a git revision at which the sources were not rewritten yet.
    """

    device: str = "auto"
    timeout: float = 60.0
    module_timeout: float = 900.0
    memory: float = 0.0
    checks: frozenset[Check] = frozenset(Check)
    seed: int = 0
    require_coverage: float = 0.0
    examples: str = ""
    example: tuple[Example, ...] = ()
    against: str = ""
    time: bool = False


# What may stand in pyproject.toml; the rest concerns one run.
_ONE_RUN = frozenset({"against", "time"})
_KEYS = {
    name.replace("_", "-"): name for name in Options.__dataclass_fields__ if name not in _ONE_RUN
}


def read_options(configuration: Configuration, typed: Mapping[str, Any] | None = None) -> Options:
    """The options of a run: what was typed, by field of Options, over pyproject.toml.

    Raises ConfigurationError.
    """
    file = os.path.join(configuration.root, "pyproject.toml")
    values = _Reader(file).values(configuration.verify)
    return Options(**{**values, **(typed or {})})


def is_device(name: str) -> bool:
    """Whether a device may be called so."""
    return _DEVICE.fullmatch(name) is not None


def checks_of(names: list[str]) -> frozenset[Check]:
    """The checks of these names. Raises ValueError for one that there is not."""
    known = {check.value: check for check in Check}
    for name in names:
        if name not in known:
            raise ValueError(f'no check is called "{name}"{nearest(name, known)}')
    return frozenset(known[name] for name in names)


class _Reader:
    """Turns the table into values; every complaint names the file and the key."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._readers: dict[str, Callable[[str, Any], Any]] = {
            "device": self._device,
            "timeout": self._positive,
            "module_timeout": self._positive,
            "memory": self._positive,
            "checks": self._checks,
            "seed": self._seed,
            "require_coverage": self._percent,
            "examples": self._examples,
            "example": self._example_tables,
        }

    def values(self, table: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for key, value in table.items():
            if key in _ONE_RUN:
                raise self._error(key, f"is given on the command line only, as --{key}")
            if key not in _KEYS:
                raise self._error(key, "unknown key" + nearest(key, _KEYS))
            found[_KEYS[key]] = self._readers[_KEYS[key]](key, value)
        return found

    def _device(self, key: str, value: Any) -> str:
        if not isinstance(value, str) or not is_device(value):
            raise self._error(key, 'must be "auto", "cpu", "cuda" or "cuda:" with a number')
        return value

    def _positive(self, key: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            raise self._error(key, f"must be a number above 0, not {value!r}")
        return float(value)

    def _percent(self, key: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._error(key, f"must be a number from 0 to 100, not {value!r}")
        if not 0 <= value <= 100:
            raise self._error(key, f"must be a number from 0 to 100, not {value!r}")
        return float(value)

    def _seed(self, key: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._error(key, f"must be a whole number, not {value!r}")
        return value

    def _checks(self, key: str, value: Any) -> frozenset[Check]:
        if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
            raise self._error(key, f"must be a list of names, not {value!r}")
        try:
            return checks_of(value)
        except ValueError as error:
            raise self._error(key, str(error)) from None

    def _examples(self, key: str, value: Any) -> str:
        if not isinstance(value, str) or not value:
            raise self._error(
                key,
                f"must be the path of a Python file, not {value!r}; single"
                " examples stand in [[tool.bncodemod.verify.example]]",
            )
        path = os.path.join(os.path.dirname(self._file), value)
        if not os.path.isfile(path):
            raise self._error(key, f"there is no file {path}")
        return path

    def _example_tables(self, key: str, value: Any) -> tuple[Example, ...]:
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            raise self._error(key, "must be tables: [[tool.bncodemod.verify.example]]")
        return tuple(self._example(f"{key}[{n}]", entry) for n, entry in enumerate(value))

    def _example(self, place: str, entry: Mapping[str, Any]) -> Example:
        for key in entry:
            if key not in _EXAMPLE_KEYS:
                raise self._error(f"{place}.{key}", "unknown key" + nearest(key, _EXAMPLE_KEYS))
        name, arguments = entry.get("name"), entry.get("arguments", "")
        if not isinstance(name, str) or not name:
            raise self._error(f"{place}.name", 'is missing: say what to build, as "Net"')
        if not isinstance(arguments, str):
            raise self._error(f"{place}.arguments", 'must be Python, as "3, width=64"')
        inputs = self._inputs(f"{place}.inputs", entry.get("inputs", []))
        if not isinstance(batch := entry.get("batch", True), bool):
            raise self._error(f"{place}.batch", "must be true, or false where there is no batch")
        return Example(name, arguments, inputs, batch).said_in(os.path.dirname(self._file))

    def _inputs(self, place: str, value: Any) -> tuple[tuple[int, ...] | str, ...]:
        if not isinstance(value, list):
            raise self._error(place, "must be a list of shapes, as [[2, 3, 32, 32]]")
        found: list[tuple[int, ...] | str] = []
        for item in value:
            if isinstance(item, list) and item and all(type(size) is int for size in item):
                found.append(tuple(item))
            elif isinstance(item, str) and item:
                found.append(item)
            else:
                raise self._error(
                    place, f"holds {item!r}: a shape, as [2, 3, 32, 32], or Python in a string"
                )
        return tuple(found)

    def _error(self, key: str, message: str) -> ConfigurationError:
        return ConfigurationError(self._file, f"{_PLACE}.{key}", message)
