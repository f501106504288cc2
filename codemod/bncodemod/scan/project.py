"""Reduces the summaries of a project's files to what each of them needs to know of the others.

Three things cross files. Names: an import leads, by way of other modules, to torch's class, to an
alias or to a subclass. Values: a class handed to another file's function may have to stay a class
there. And what a file does with a name of its own depends on who else uses it. All of it is found
on demand: a file is asked only for what some other file's norms reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property

from bncodemod.catalog.torch import norm_class
from bncodemod.scan.index import Exit, ExitKind, ProjectIndex
from bncodemod.scan.need import TESTS, Need, calls_can_carry
from bncodemod.scan.reading import MAX_ROUNDS, ProjectReader
from bncodemod.scan.targets import Symbol, Target
from bncodemod.scan.values import Values


class Project:
    """The files of a project and what is known of them so far.

    ``keeps_batch_norm`` says of a file whether its norms are batch norms after the rewrite.
    ``ignored`` names a file that may build norms and is never rewritten, and no other.
    """

    def __init__(
        self,
        reader: ProjectReader,
        keeps_batch_norm: Callable[[str], bool],
        ignored: Callable[[str], str],
    ) -> None:
        self._reader = reader
        self._values = Values(reader)
        self._keeps_batch_norm = keeps_batch_norm
        self._ignored = ignored
        self._carried: dict[Symbol, bool] = {}  # filled once all is read

    def build(self, seeds: Iterable[str]) -> None:
        """Read ``seeds`` and whatever else bears on them."""
        self._reader.read(seeds)
        for _ in range(MAX_ROUNDS):
            if not self._reader.read_for_names():
                break
        self._reader.read_again()
        self._values.follow()

    def index(self, path: str) -> ProjectIndex:
        """What one file needs to know of the others."""
        if path not in self._reader.paths:
            return ProjectIndex()
        summary = self._reader.files[path].summary
        names = self._with_carried(path)
        exits = {way for _, facts in summary.flows for way, _ in facts.exits}
        exits.update(summary.flag_exits)
        exits.update(Exit(ExitKind.VARIABLE, n, many=True) for n in self._values.with_star(path))
        beyond = {way: self._values.beyond(path, way) for way in exits}
        settled = {
            spelled: replace(names.subclasses[spelled], tracks=False)
            for spelled, target in self._reader.linker.subclasses_used(path).items()
            if self._is_settled(target)
        }
        for spelled, targets in self._reader.linker.may_be(path).items():
            if all(map(self._is_settled, targets)):
                found = filter(None, map(self._reader.resolver.norm_of, sorted(targets, key=repr)))
                settled.update((spelled, replace(norm, tracks=False)) for norm in found)
        ambiguous = {n: said for n, said in names.ambiguous.items() if n not in settled}
        used = self._reader.linker.subclasses_used(path)
        subclasses = {
            spelled: norm
            for spelled, norm in names.subclasses.items()
            if spelled not in settled and not self._is_out_of_reach(used[spelled])
        }
        return replace(
            names,
            ambiguous=ambiguous,
            subclasses=subclasses,
            ignored={
                spelled: shown
                for spelled, source in self._reader.linker.sources(path)
                for shown in [self._ignored(source)]
                if shown and not (spelled in subclasses or norm_class(names.names.get(spelled, "")))
            },
            handled={**names.handled, **settled},
            rebased=frozenset(s.name for s in self._rebased if s.path == path),
            rebased_elsewhere=frozenset(
                spelled
                for spelled, target in self._reader.linker.classes_used(path).items()
                if not self._rebased.isdisjoint(self._reader.lineage.roots(target))
            ),
            plain=self._reader.lineage.plain_bases(path),
            beyond={way: known for way, known in beyond.items() if known is not None},
            built_elsewhere=frozenset(
                name for name in summary.classes if self._calls_carry(Symbol(path, name))
            ),
        )

    @cached_property
    def _rebased(self) -> frozenset[Symbol]:
        """The classes on top of a norm whose calls cannot carry the flag; asked once all is read.

        One that derives from them, wherever it is, is not built straight by the norm's arguments.
        """
        return frozenset(
            root
            for target in self._reader.derived_classes()
            if not self._reader.lineage.is_plain(target) or self._is_built_unseen(target)
            for root in self._reader.lineage.roots(target)
        )

    def _is_settled(self, target: Target) -> bool:
        """Whether a norm of the project is dealt with where it is defined, whoever uses it."""
        if not isinstance(target, Symbol):
            return False
        if self._ignored(target.path):
            return False
        if not self._keeps_batch_norm(target.path):
            return True
        if self._reader.resolver.alias(target) is not None:
            return not self._is_carried(target)
        derived = self._reader.resolver.derived(target)
        if derived is not None and derived.alias is not None:
            return not self._is_carried(derived.alias)
        has_init = derived is not None and derived.parameters is not None
        return has_init or not self._rebased.isdisjoint(self._reader.lineage.roots(target))

    def _is_out_of_reach(self, target: Symbol) -> bool:
        """Whether a class is never rewritten, and no call can carry the flag to its norm."""
        if not self._ignored(target.path):
            return False
        return not self._keeps_batch_norm(target.path) or not self._reader.lineage.is_plain(target)

    def _is_built_unseen(self, target: Symbol) -> bool:
        """Whether the calls that build a class without an ``__init__`` cannot all carry a flag."""
        facts = self._reader.files[target.path].summary.classes[target.name]
        if facts.parameters is not None:
            return False
        users = {path for path, _ in self._reader.linker.users.get(target, ())}
        if not all(map(self._keeps_batch_norm, users)):
            return True
        return not facts.mentioned and not self._calls_carry(target)

    def _calls_carry(self, target: Symbol) -> bool:
        """Whether other files build a class, and all of them put the flag into their calls."""
        uses = self._values.uses(target)
        builds = any(
            facts.found
            and (facts.calls or facts.exits or any(d.need not in TESTS for d in facts.demands))
            for _, facts in uses
        )
        return builds and all(self._keeps_batch_norm(path) for path, _ in uses)

    def _with_carried(self, path: str) -> ProjectIndex:
        """The names of a file; an alias whose calls carry the flag is the class itself."""
        index = self._reader.linker.names(path)
        carried = {
            spelled: norm.qualified
            for spelled, target in self._reader.linker.aliases_used(path).items()
            for norm in [self._reader.resolver.alias(target)]
            if norm is not None and self._is_carried(target)
        }
        handled = {name: norm for name, norm in index.handled.items() if name not in carried}
        spelled = {name: carried.get(known, known) for name, known in index.names.items()}
        return replace(index, names=spelled, handled=handled)

    def _is_carried(self, target: Symbol) -> bool:
        """Whether an alias stays a class, as its uses need one, and its calls carry the flag."""
        if target not in self._carried:
            merged = self._values.of_alias(target)
            needs = {d.need for d in merged.demands} - {Need.FUNCTION_TEST}
            # A file that is never rewritten only gives the norm another name.
            self._carried[target] = bool(self._ignored(target.path)) or (
                self._keeps_batch_norm(target.path)
                and bool(needs)
                and calls_can_carry(
                    needs, builds=merged.calls, sure=merged.sure, escapes=merged.escapes
                )
            )
        return self._carried[target]
