"""What norms were fed in the candidates that were checked, and where that was a guess.

A norm that takes its statistics from single samples leaves nothing of one value, so that a verdict
on it hangs on its input. What makes use of a candidate shows other inputs than a guess.
"""

from __future__ import annotations

from bncodemod.verify.model import Site
from bncodemod.verify.norm_calls import Fed
from bncodemod.verify.reached import Reached


class Feeding:
    """Notes the candidates of one module that were checked."""

    def __init__(self) -> None:
        self._checked: set[str] = set()
        self._fed: set[tuple[Site, Fed]] = set()
        self._guessed: dict[str, frozenset[Site]] = {}  # by the names of candidates
        self._kinds: set[type] = set()  # the classes of models that were fed by guess

    def note(self, each: Reached) -> None:
        """Remember what a candidate was fed."""
        name = each.candidate.name
        self._checked.add(name)
        self._fed |= each.fed
        if each.fed and each.prepared.inputs.guessed:
            sites = frozenset(site for site, _ in each.fed)
            self._guessed[name] = self._guessed.get(name, frozenset()) | sites
            self._kinds.add(type(each.prepared.constructed.module))

    @property
    def guessed(self) -> frozenset[str]:
        """The names of the candidates that were fed by guess."""
        return frozenset(self._guessed)

    @property
    def doubted(self) -> frozenset[Site]:
        """The sites whose norms were fed by guess."""
        return frozenset().union(*self._guessed.values())

    def has(self, each: Reached) -> bool:
        """Whether a candidate of that name was checked."""
        return each.candidate.name in self._checked

    def is_new(self, each: Reached) -> bool:
        """Whether a candidate feeds some norm as none that was checked does."""
        return bool(each.fed - self._fed)

    def has_kind(self, each: Reached) -> bool:
        """Whether a model of the same class was fed by guess."""
        return type(each.prepared.constructed.module) in self._kinds
