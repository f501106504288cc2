"""One rule a file; a module's docstring is the page that ``explain`` prints.

A module is found by being here; one without a ``rule`` is part of the rule that its name begins
with. One whose sites need not hold any of the words that ``scan/prefilter.py`` looks for adds its
own there: a file without them is never parsed.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module

from bncodemod.rules.rule import Rule
from bncodemod.source import errors


@cache
def all_rules() -> tuple[Rule, ...]:
    """Every rule of this package, in the order in which they run."""
    found = (getattr(module, "rule", None) for module in _modules())
    rules = [rule for rule in found if isinstance(rule, Rule)]
    return tuple(sorted(rules, key=lambda rule: (rule.priority, rule.code)))


@cache
def pages() -> Mapping[str, str]:
    """The page of every code, those of files that cannot be handled (BN9xx) included."""
    found = {
        module.rule.code: module.__doc__ or "" for module in _modules() if hasattr(module, "rule")
    }
    for error in errors.SourceError.__subclasses__():
        found[error.code] = error.__doc__ or ""
    return dict(sorted(found.items()))


def _modules() -> list[object]:
    names = sorted(info.name for info in pkgutil.iter_modules(__path__) if info.name != "rule")
    return [import_module(f"{__name__}.{name}") for name in names]
