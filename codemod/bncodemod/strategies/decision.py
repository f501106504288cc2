"""What a rule and its strategy decide about a site."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from bncodemod.source.splice import Edit


@dataclass(frozen=True, slots=True, eq=False)
class BuiltModel:
    """A model that code outside the project builds: ``calls`` are the expressions that give it.

    ``weights`` says whether it may come with pretrained weights, ``is_module`` whether what the
    calls give is sure to be a module.
    """

    calls: tuple[ast.Call, ...]
    weights: bool
    is_module: bool = True


@dataclass(frozen=True, slots=True)
class Rewrite:
    """The site is changed by these edits.

    The first covers the site itself; where ``is_patch`` says so it may stand elsewhere instead, as
    what patches the model that the site is part of.
    ``model`` is what could be patched at run time instead.
    """

    edits: tuple[Edit, ...]
    message: str
    remedy: str = ""
    model: BuiltModel | None = None
    is_patch: bool = False


@dataclass(frozen=True, slots=True)
class Open:
    """The site stays as it is, and a person has to decide.

    ``model`` is what can be patched at run time where the settings say so.
    """

    message: str
    remedy: str
    model: BuiltModel | None = None


@dataclass(frozen=True, slots=True)
class Safe:
    """The site keeps no running statistics, or never updates them under vmap.

    ``is_without_statistics`` says that a batch norm has lost them, by this tool or by hand.
    """

    message: str
    is_without_statistics: bool = False


NO_STATISTICS = Safe("keeps no running statistics", is_without_statistics=True)

Decision = Rewrite | Open | Safe
