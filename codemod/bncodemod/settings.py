"""Defaults < pyproject.toml < command line, as frozen dataclasses."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

STRATEGIES = ("no-running-stats", "group-norm", "runtime-patch", "eval-mode", "auto")
THIRD_PARTY = ("report", "patch")
PATCHES = ("replace", "keep-statistics", "group-norm")
GROUP_FALLBACKS = ("divisor", "gcd", "per-channel", "error")

# Folders that hold no source of the user's own; `exclude` replaces the list.
DEFAULT_EXCLUDE = (
    ".bzr",
    ".direnv",
    ".eggs",
    ".git",
    ".hg",
    ".ipynb_checkpoints",
    ".mypy_cache",
    ".nox",
    ".pytest_cache",
    ".ruff_cache",
    ".svn",
    ".tox",
    ".venv",
    "__pycache__",
    "__pypackages__",
    "build",
    "dist",
    "node_modules",
    "site-packages",
    "venv",
)


@dataclass(frozen=True, slots=True)
class Settings:
    """How one file is rewritten.

    ``groups``, ``min_group_size`` and ``group_fallback`` belong to the strategy ``group-norm``:
    a layer of C channels gets ``groups`` groups if that divides C and leaves ``min_group_size``
    channels in each, else what ``group_fallback`` says; so does the patch ``group-norm``.
    ``select`` and ``ignore`` hold prefixes of rule codes; an empty ``select`` selects all.
    ``third_party`` says what becomes of models that another library builds, and ``patch`` how they
    are patched: the strategies ``runtime-patch`` and ``auto`` always patch them, and ``auto``
    chooses how.
    """

    strategy: str = "no-running-stats"
    groups: int = 32
    min_group_size: int = 4
    group_fallback: str = "divisor"
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    third_party: str = "report"
    patch: str = "replace"

    @property
    def keeps_batch_norm(self) -> bool:
        """Whether a batch norm is still one after the rewrite."""
        return self.strategy != "group-norm"

    @property
    def reads_calls(self) -> bool:
        """Whether calls of models matter, also in files that speak of no norm."""
        return self.strategy in ("eval-mode", "auto")

    @property
    def reads_uses(self) -> bool:
        """Whether it matters what other files do with models: load weights into them, train."""
        return self.reads_calls or self.patches

    @property
    def patches(self) -> bool:
        """Whether models that another library builds are patched at run time."""
        if self.strategy in ("no-running-stats", "group-norm"):
            return self.third_party == "patch"
        return self.strategy != "eval-mode"

    @property
    def unused(self) -> dict[str, str]:
        """The options that have no effect here, each with the options that would give it one."""
        found = {}
        if self.strategy not in ("no-running-stats", "group-norm"):
            found["third_party"] = "--strategy no-running-stats or group-norm"
        if not self.patches or self.strategy == "auto":
            found["patch"] = "--strategy runtime-patch or --third-party patch"
        by_patch = self.patch == "group-norm" and "patch" not in found
        if self.strategy != "group-norm" and not by_patch:
            for name in ("groups", "min_group_size", "group_fallback"):
                found[name] = "--strategy group-norm or --patch group-norm"
        return found

    def enabled(self, code: str) -> bool:
        """Whether the rule ``code`` runs: the longest prefix that matches decides, as in ruff."""
        selected = max((len(p) for p in self.select if code.startswith(p)), default=-1)
        ignored = max((len(p) for p in self.ignore if code.startswith(p)), default=-1)
        if ignored >= 0:
            return selected > ignored
        return selected >= 0 or not self.select


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


@dataclass(frozen=True)
class Configuration:
    """What a run is told: the settings of each file and which files a walk leaves out.

    ``root`` is the absolute folder that the patterns of ``exclude``, ``extend_exclude`` and
    ``overrides`` are relative to; they read as in .gitignore. ``project`` says whether files are
    read as parts of their project or each by itself. ``settings`` holds for files that no
    override and no nearer pyproject.toml speaks of. ``verify`` is ``[tool.bncodemod.verify]`` as it
    was read; ``bncodemod.verify.options`` makes sense of it.
    """

    root: str
    settings: Settings = Settings()
    exclude: tuple[str, ...] = DEFAULT_EXCLUDE
    extend_exclude: tuple[str, ...] = ()
    force_exclude: bool = False
    project: bool = True
    overrides: tuple[Override, ...] = ()
    verify: Mapping[str, Any] = field(default_factory=dict)
    files: ConfigurationFiles | None = field(default=None, compare=False, repr=False)

    def at(self, directory: str | os.PathLike[str]) -> Configuration:
        """The configuration of the pyproject.toml nearest to ``directory``.

        Raises ConfigurationError where that file cannot be used.
        """
        if self.files is None:
            return self
        return self.files.nearest(os.path.abspath(directory)) or self

    def for_path(self, path: str | os.PathLike[str]) -> Settings:
        """The settings of one file, which need not exist.

        Raises ConfigurationError where the pyproject.toml nearest to it cannot be used.
        """
        absolute = os.path.abspath(path)
        return self.at(os.path.dirname(absolute))._overridden(absolute)

    def forced(self, **changes: Any) -> Configuration:
        """The same with these fields of Settings for every file, whatever a file says."""
        if self.files is None:
            return replace(self, settings=replace(self.settings, **changes), overrides=())
        files = self.files.with_typed(changes)
        return files.nearest(self.root) or files.default()

    def _overridden(self, absolute: str) -> Settings:
        if not self.overrides:
            return self.settings
        relative = os.path.relpath(absolute, self.root)
        if relative.split(os.sep, 1)[0] == os.pardir:
            return self.settings
        settings = self.settings
        for override in self.overrides:
            if _spec(override.paths).match_file(relative):
                settings = replace(settings, **override.changes)
        return settings


@cache
def _spec(patterns: tuple[str, ...]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(patterns)


def load_configuration(
    paths: Sequence[str | os.PathLike[str]],
    command_line: Mapping[str, Any] | None = None,
    codes: Callable[[], Iterable[str]] | None = None,
) -> Configuration:
    """The configuration of a run over ``paths``, from the pyproject.toml nearest to them all.

    ``command_line`` holds what the user typed, by field of Settings and Configuration; it wins
    over every file, but ``extend_exclude`` adds. ``codes`` gives the rule codes that ``select`` and
    ``ignore`` may name; it is called only if a file uses one of them.

    Raises ConfigurationError.
    """
    files = ConfigurationFiles(command_line or {}, codes)
    absolute = [os.path.abspath(path) for path in paths]
    folders = [path if os.path.isdir(path) else os.path.dirname(path) for path in absolute]
    start = os.path.commonpath(folders) if folders else os.getcwd()
    return files.nearest(start) or files.default()


class ConfigurationFiles:
    """Finds and reads pyproject.toml files, each once; those without the table do not count."""

    def __init__(
        self, command_line: Mapping[str, Any], codes: Callable[[], Iterable[str]] | None = None
    ) -> None:
        self._command_line = dict(command_line)
        self._codes = codes
        self._known: dict[str, Configuration | None] = {}

    def with_typed(self, changes: Mapping[str, Any]) -> ConfigurationFiles:
        """The same files, with more typed on the command line."""
        return ConfigurationFiles({**self._command_line, **changes}, self._codes)

    def default(self) -> Configuration:
        """The configuration where there is no file: the command line over the defaults."""
        return self._build(os.getcwd(), {}, (), {})

    def nearest(self, directory: str) -> Configuration | None:
        """The configuration in ``directory`` (absolute) or the nearest folder above it."""
        if directory not in self._known:
            found = self._read(directory)
            parent = os.path.dirname(directory)
            if found is None and parent != directory:
                found = self.nearest(parent)
            self._known[directory] = found
        return self._known[directory]

    def _read(self, directory: str) -> Configuration | None:
        file = os.path.join(directory, "pyproject.toml")
        table = _table(file)
        if table is None:
            return None
        reader = _Reader(file, self._codes)
        overrides, verify = reader.overrides(table), reader.verify(table)
        return self._build(directory, reader.values(table), overrides, verify)

    def _build(
        self,
        root: str,
        values: Mapping[str, Any],
        overrides: tuple[Override, ...],
        verify: Mapping[str, Any],
    ) -> Configuration:
        typed = {
            name: anchored(value, root) if name in ("exclude", "extend_exclude") else value
            for name, value in self._command_line.items()
        }
        typed["extend_exclude"] = (
            *values.get("extend_exclude", ()),
            *typed.get("extend_exclude", ()),
        )
        merged = {**values, **typed}
        settings = Settings(**{name: merged.pop(name) for name in PER_FILE & merged.keys()})
        return Configuration(
            root,
            settings,
            overrides=tuple(
                Override(o.paths, {n: v for n, v in o.changes.items() if n not in typed})
                for o in overrides
            ),
            verify=verify,
            files=self,
            **merged,
        )


def anchored(patterns: Iterable[str], root: str) -> tuple[str, ...]:
    """Patterns that a user typed in the current folder, said relative to ``root``.

    As in .gitignore, a pattern without an inner slash matches at any depth and stays as it is.
    One that cannot match below ``root`` is left out.
    """
    said = (_anchor(pattern, os.getcwd(), root) for pattern in patterns)
    return tuple(pattern for pattern in said if pattern is not None)


def _anchor(pattern: str, current: str, root: str) -> str | None:
    from fnmatch import fnmatchcase

    negation = "!" if pattern.startswith("!") else ""
    body = pattern[len(negation) :]
    if os.path.isabs(body) and body.startswith(current + os.sep):
        body = body[len(current) :]
    while body.startswith("./"):
        body = body[2:]
    if "/" not in body.rstrip("/") or body.startswith("**/") or root == current:
        return negation + body
    body = body.lstrip("/")
    if current.startswith(root.rstrip(os.sep) + os.sep):
        return f"{negation}/{os.path.relpath(current, root)}/{body}"
    if not root.startswith(current.rstrip(os.sep) + os.sep):
        return negation + body
    for part in os.path.relpath(root, current).split(os.sep):
        head, _, body = body.partition("/")
        if head == "**":
            return f"{negation}**/{body}"
        if not body or not fnmatchcase(part, head):
            return None
    return f"{negation}/{body}"


def _table(file: str) -> dict[str, Any] | None:
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


# The keys of pyproject.toml are the fields' names with hyphens.
PER_FILE = frozenset(Settings.__dataclass_fields__)
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


class _Reader:
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


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean "x"?`` for what comes nearest to ``word``; empty if nothing is near."""
    from difflib import get_close_matches

    matches = get_close_matches(word, sorted(known), n=5)
    # Of what is about as near, the mistake is seldom at the beginning.
    matches.sort(key=lambda match: _same_beginning(word, match), reverse=True)
    return f'; did you mean "{matches[0]}"?' if matches else ""


def _same_beginning(one: str, other: str) -> int:
    """How many characters two words begin with alike."""
    from itertools import takewhile

    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _shown(value: Any) -> str:
    """A value as TOML spells it, near enough for a message."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    return "a table" if isinstance(value, dict) else repr(value)
