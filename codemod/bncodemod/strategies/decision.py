"""What a rule and its strategy decide about a site."""

from __future__ import annotations

from dataclasses import dataclass

from bncodemod.source.splice import Edit


@dataclass(frozen=True, slots=True)
class Rewrite:
    """The site is changed by these edits; the first covers the site itself."""

    edits: tuple[Edit, ...]
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Open:
    """The site stays as it is, and a person has to decide."""

    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Safe:
    """The site keeps no running statistics, or never updates them under vmap."""

    message: str


Decision = Rewrite | Open | Safe
