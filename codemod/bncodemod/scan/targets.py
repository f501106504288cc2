"""The files of a project as the linker knows them, and what a name in one of them may lead to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from bncodemod.catalog.torch import NormClass
from bncodemod.scan.index import ExitKind
from bncodemod.scan.summary import FlowFacts, Import, Summary


@dataclass(frozen=True, slots=True)
class External:
    """Something outside the project, by its qualified name."""

    qualified: str


@dataclass(frozen=True, slots=True)
class Module:
    """A module of the project, or a namespace package."""

    path: str


@dataclass(frozen=True, slots=True)
class Symbol:
    """A name of a module of the project."""

    path: str
    name: str


@dataclass(frozen=True, slots=True)
class Unread:
    """A name of a file of the project that has not been read."""

    path: str
    name: str


@dataclass(frozen=True, slots=True)
class Derived:
    """What a class of the project derives from.

    ``parameters`` are those of the first ``__init__`` on the way to the norm, None if there is
    none; ``alias`` is the project's own name for the norm, if it is reached by one.
    """

    norm: NormClass
    parameters: tuple[str, ...] | None = None
    alias: Symbol | None = None


Target = External | Module | Symbol | Unread
Targets = frozenset[Target]
NOTHING: Targets = frozenset()


class File:
    """A summary, with what is looked up in it over and over."""

    def __init__(self, summary: Summary) -> None:
        self.summary = summary
        # Filled once by the linker: the exports that no other file has a say in, and their names.
        self.from_outside: dict[str, Targets] | None = None
        self.settled: frozenset[str] = frozenset()

    @classmethod
    def of_stars(cls, modules: Iterable[str]) -> File:
        """A file of which only its star imports are known, as ``..package.module``."""
        return cls(Summary(imports=tuple(map(_star_import, modules))))

    def defines(self, name: str) -> bool:
        """Whether the module itself makes what the name stands for."""
        summary = self.summary
        return name in summary.classes or name in summary.others or name in self.aliases

    def is_public(self, name: str) -> bool:
        """Whether a star import of the module brings a name in."""
        if self.summary.exported is not None:
            return name in self.summary.exported
        return not name.startswith("_")

    @cached_property
    def names(self) -> frozenset[str]:
        """The names that the module binds and that may stand for a norm, stars aside."""
        summary = self.summary
        named = (name for name in summary.others if "BatchNorm" in name)
        found = {*self.aliases, *self.results, *summary.classes, *summary.assigned}
        return frozenset({*found, *self.by_local, *named})

    @cached_property
    def by_local(self) -> dict[str, list[Import]]:
        """The imports that other modules can see, by the name that they bind."""
        found: dict[str, list[Import]] = defaultdict(list)
        for item in self.summary.imports:
            if item.exported and item.name != "*":
                found[item.local or item.spelled].append(item)
        return dict(found)

    @cached_property
    def has_free_roots(self) -> bool:
        """Whether a norm is read from a name that only a star import can bring in."""
        summary = self.summary
        bound = {item.local or item.spelled for item in summary.imports}
        return bool(summary.roots - bound - summary.others - summary.assigned.keys())

    @cached_property
    def packages(self) -> frozenset[str]:
        """The outermost packages that the file imports absolutely."""
        imports = self.summary.imports
        return frozenset(i.module.partition(".")[0] for i in imports if not i.level and i.module)

    @cached_property
    def stars(self) -> list[Import]:
        """The star imports of the module."""
        return [item for item in self.summary.imports if item.exported and item.name == "*"]

    @cached_property
    def spelled(self) -> dict[str, Import]:
        """All imports of the file by the qualified name that it gives to them."""
        return {item.spelled: item for item in self.summary.imports if item.name != "*"}

    @cached_property
    def aliases(self) -> dict[str, list[tuple[str, FlowFacts]]]:
        """The module's names that a norm class is assigned to: the norm's name and its flow."""
        found: dict[str, list[tuple[str, FlowFacts]]] = defaultdict(list)
        for norm, facts in self.summary.flows:
            for way, _ in facts.exits:
                if way.kind is ExitKind.VARIABLE:
                    found[way.name].append((norm, facts))
        return dict(found)

    @cached_property
    def results(self) -> set[str]:
        """The module's functions that give a norm class back."""
        return {name for _, facts in self.summary.flows for name in results_of(facts)}


def results_of(facts: FlowFacts) -> set[str]:
    """The functions that give a value back."""
    return {way.name for way, _ in facts.exits if way.kind is ExitKind.RESULT}


def _star_import(module: str) -> Import:
    dotted = module.lstrip(".")
    return Import("*", dotted, len(module) - len(dotted), "*", True)
