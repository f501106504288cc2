"""Which settings hold for which file, from the pyproject.toml files above it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from bncodemod.settings.patterns import anchored
from bncodemod.settings.per_file import PER_FILE, Settings
from bncodemod.settings.pyproject import Override, Reader, table_of

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec


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
    settings: Settings = field(default_factory=Settings)
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
        table = table_of(file)
        if table is None:
            return None
        reader = Reader(file, self._codes)
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
