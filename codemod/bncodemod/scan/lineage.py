"""How a project's classes derive from norms, across files, and what has a say in building them.

``scan/construction.py`` says the same of one file alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bncodemod.catalog.torch import norm_class
from bncodemod.scan.construction import HARMLESS
from bncodemod.scan.resolving import Resolver
from bncodemod.scan.summary import ClassFacts
from bncodemod.scan.targets import External, File, Symbol, Target, Targets


class Lineage:
    """The classes of linked files and their bases."""

    def __init__(self, resolver: Resolver, files: Mapping[str, File]) -> None:
        self._resolver = resolver
        self._files = files

    def bases(self, target: Symbol) -> list[Targets]:
        """What each base of a class stands for."""
        facts = self._facts(target)
        return [self._resolver.dotted(target.path, base) for base in facts.bases] if facts else []

    def roots(self, target: Symbol, below: frozenset[Symbol] = frozenset()) -> Iterator[Symbol]:
        """The classes, on the way from a class to the norm, that have the norm itself as a base."""
        for base in (base for targets in self.bases(target) for base in targets):
            if isinstance(base, Symbol) and self._resolver.alias(base) is None:
                if base not in below and self._resolver.derived(base) is not None:
                    yield from self.roots(base, below | {target})
            elif self._resolver.norm_base(base) is not None:
                yield target

    def is_plain(self, target: Symbol, below: frozenset[Symbol] = frozenset()) -> bool:
        """Whether a class leaves construction to its bases, and these to the norm or to nobody.

        An ``__init__`` counts only where it is not on the way to the norm.
        """
        facts = self._facts(target)
        if facts is None or target in below:
            return False
        derived = self._resolver.derived(target)
        if facts.intervenes and (derived is None or derived.parameters is None):
            return False
        if facts.parameters is not None and derived is None:
            return False
        if facts.skips and target not in self.roots(target):
            skipped = [self._resolver.dotted(target.path, name) for name in facts.skips]
            if not all(found and all(map(self._is_of_torch, found)) for found in skipped):
                return False
        bases = self.bases(target)
        norms = sum(any(self._resolver.norm_base(t, below) for t in found) for found in bases)
        return norms < 2 and all(
            bool(found) and all(self._passes(t, below | {target}) for t in found)
            for found, written in zip(bases, facts.bases, strict=True)
            if written not in HARMLESS
        )

    def plain_bases(self, path: str) -> frozenset[str]:
        """The imported bases of a file's classes that have no say in their construction."""
        summary = self._files[path].summary
        written = {base for facts in summary.classes.values() for base in facts.bases}
        return frozenset(
            item.spelled + base.removeprefix(local)
            for item in summary.imports
            for local in [item.local or item.spelled]
            for base in written
            if f"{base}.".startswith(f"{local}.") and self._is_plain_base(path, base)
        )

    def imported_files(self, path: str) -> set[str]:
        """The files from which one takes its names, and those that define the bases of these."""
        found: set[str] = set()
        imports = self._files[path].summary.imports
        todo = [target for item in imports for target in self._resolver.brought_in(path, item)]
        seen: set[Target] = set()
        for target in todo:  # grows by the bases
            if target not in seen and not isinstance(target, External):
                seen.add(target)
                found.add(target.path)
                if isinstance(target, Symbol):
                    todo += [base for targets in self.bases(target) for base in targets]
        return {file for file in found if not file.endswith("/")} - {path}

    def _facts(self, target: Symbol) -> ClassFacts | None:
        file = self._files.get(target.path)
        return file.summary.classes.get(target.name) if file else None

    def _is_plain_base(self, path: str, base: str) -> bool:
        targets = self._resolver.dotted(path, base)
        return bool(targets) and all(isinstance(t, Symbol) and self.is_plain(t) for t in targets)

    def _is_of_torch(self, target: Target) -> bool:
        if isinstance(target, Symbol):
            return self._resolver.alias(target) is not None
        return isinstance(target, External) and norm_class(target.qualified) is not None

    def _passes(self, base: Target, below: frozenset[Symbol]) -> bool:
        if isinstance(base, External):
            return base.qualified in HARMLESS or norm_class(base.qualified) is not None
        if not isinstance(base, Symbol):
            return False
        return self._resolver.alias(base) is not None or self.is_plain(base, below)
