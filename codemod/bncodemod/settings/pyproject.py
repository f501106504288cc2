"""What ``[tool.bncodemod]`` of a pyproject.toml says, and what is said of a wrong one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bncodemod.settings.nearest import nearest
from bncodemod.settings.per_file import (
    GROUP_FALLBACKS,
    PATCHES,
    PER_FILE,
    STRATEGIES,
    THIRD_PARTY,
)

_WALK = frozenset({"exclude", "extend_exclude", "force_exclude", "project"})
_ONE_RUN = frozenset(
    {"check", "diff", "exit-zero", "format", "jobs", "quiet", "statistics", "verbose"}
)
_CHOICES = {
    "strategy": STRATEGIES,
    "group_fallback": GROUP_FALLBACKS,
    "third_party": THIRD_PARTY,
    "patch": PATCHES,
}


class ConfigurationError(Exception):
    """A pyproject.toml that cannot be used: the text names the file, the key and what to do."""

    def __init__(self, file: str, key: str, message: str) -> None:
        super().__init__(file, key, message)
        self.file = file
        self.key = key
        self.message = message

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.key, self.message) if part)


@dataclass(frozen=True, slots=True)
class Override:
    """``[[tool.bncodemod.overrides]]``: changes, by field of Settings, where a path matches."""

    paths: tuple[str, ...]
    changes: Mapping[str, Any]


def table_of(file: str) -> dict[str, Any] | None:
    """``[tool.bncodemod]`` of a file; None where there is no file or it has no such table."""
    try:
        with open(file, "rb") as stream:
            data = stream.read()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        raise ConfigurationError(file, "", f"cannot be read: {error.strerror}") from None
    if b"bncodemod" not in data:
        return None
    try:
        tool = _parsed(data).get("tool", {})
    except ValueError as error:
        raise ConfigurationError(file, "", f"is not valid TOML: {error}") from None
    table = tool.get("bncodemod") if isinstance(tool, dict) else None
    if table is not None and not isinstance(table, dict):
        raise ConfigurationError(file, "tool.bncodemod", "must be a table")
    return table


def _parsed(data: bytes) -> dict[str, Any]:
    import sys
    from importlib import import_module

    parser = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    parsed: dict[str, Any] = parser.loads(data.decode("utf-8-sig"))
    return parsed


class Reader:
    """Turns one file's table into values; every complaint names the file and the key."""

    def __init__(self, file: str, codes: Callable[[], Iterable[str]] | None) -> None:
        self._file = file
        self._codes = codes

    def values(self, table: Mapping[str, Any]) -> dict[str, Any]:
        besides = ("overrides", "verify")
        return self._fields(table, "tool.bncodemod", PER_FILE | _WALK, besides)

    def verify(self, table: Mapping[str, Any]) -> Mapping[str, Any]:
        verify = table.get("verify", {})
        if not isinstance(verify, dict):
            raise self._error("tool.bncodemod.verify", "must be a table: [tool.bncodemod.verify]")
        return verify

    def overrides(self, table: Mapping[str, Any]) -> tuple[Override, ...]:
        entries = table.get("overrides", [])
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise self._error(
                "tool.bncodemod.overrides", "must be tables: [[tool.bncodemod.overrides]]"
            )
        return tuple(self._override(entry, number) for number, entry in enumerate(entries))

    def _override(self, entry: Mapping[str, Any], number: int) -> Override:
        place = f"tool.bncodemod.overrides[{number}]"
        paths = entry.get("paths")
        if not paths:
            raise self._error(f"{place}.paths", 'is missing: say which files, as ["models/**"]')
        changes = self._fields(entry, place, PER_FILE, ("paths",))
        return Override(self._strings(f"{place}.paths", paths), changes)

    def _fields(
        self, table: Mapping[str, Any], place: str, allowed: frozenset[str], besides: Sequence[str]
    ) -> dict[str, Any]:
        names = {name.replace("_", "-"): name for name in allowed}
        found = {}
        for key, value in table.items():
            if key in names:
                found[names[key]] = self._value(f"{place}.{key}", names[key], value)
            elif key not in besides:
                raise self._unknown(place, key, [*names, *besides])
        return found

    def _unknown(self, place: str, key: str, known: Sequence[str]) -> ConfigurationError:
        if key in _ONE_RUN:
            return self._error(f"{place}.{key}", f"is given on the command line only, as --{key}")
        if key.replace("-", "_") in _WALK or key in ("overrides", "verify"):
            return self._error(f"{place}.{key}", "belongs in [tool.bncodemod], for all paths")
        if key == "paths":
            return self._error(f"{place}.{key}", "belongs in [[tool.bncodemod.overrides]]")
        return self._error(f"{place}.{key}", "unknown key" + nearest(key, known))

    def _value(self, place: str, name: str, value: Any) -> Any:
        if name in _CHOICES:
            return self._choice(place, value, _CHOICES[name])
        if name in ("groups", "min_group_size"):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise self._error(place, f"must be a whole number from 1, not {_shown(value)}")
            return value
        if name in ("force_exclude", "project"):
            if not isinstance(value, bool):
                raise self._error(place, f"must be true or false, not {_shown(value)}")
            return value
        strings = self._strings(place, value)
        return self._prefixes(place, strings) if name in ("select", "ignore") else strings

    def _choice(self, place: str, value: Any, choices: tuple[str, ...]) -> str:
        if value in choices:
            return str(value)
        hint = nearest(value, choices) if isinstance(value, str) else ""
        raise self._error(place, f"must be one of {', '.join(choices)}, not {_shown(value)}{hint}")

    def _strings(self, place: str, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(v, str) and v for v in value):
            raise self._error(place, f"must be a list of strings, not {_shown(value)}")
        return tuple(value)

    def _prefixes(self, place: str, prefixes: tuple[str, ...]) -> tuple[str, ...]:
        known = tuple(self._codes()) if self._codes else ()
        for prefix in prefixes:
            if known and not any(code.startswith(prefix) for code in known):
                hint = nearest(prefix, known)
                raise self._error(place, f"no rule code starts with {_shown(prefix)}{hint}")
        return prefixes

    def _error(self, key: str, message: str) -> ConfigurationError:
        return ConfigurationError(self._file, key, message)


def _shown(value: Any) -> str:
    """A value as TOML spells it, near enough for a message."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    return "a table" if isinstance(value, dict) else repr(value)
