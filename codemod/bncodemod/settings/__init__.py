"""Defaults < pyproject.toml < command line, as frozen dataclasses."""

from bncodemod.settings.configuration import DEFAULT_EXCLUDE, Configuration, load_configuration
from bncodemod.settings.nearest import nearest
from bncodemod.settings.patterns import anchored
from bncodemod.settings.per_file import (
    GROUP_FALLBACKS,
    PATCHES,
    PER_FILE,
    STRATEGIES,
    THIRD_PARTY,
    Settings,
)
from bncodemod.settings.pyproject import ConfigurationError, Override

__all__ = [
    "DEFAULT_EXCLUDE",
    "GROUP_FALLBACKS",
    "PATCHES",
    "PER_FILE",
    "STRATEGIES",
    "THIRD_PARTY",
    "Configuration",
    "ConfigurationError",
    "Override",
    "Settings",
    "anchored",
    "load_configuration",
    "nearest",
]
