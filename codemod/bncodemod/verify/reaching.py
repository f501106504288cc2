"""Building candidates on meta until the wanted sites are reached, and no more than that."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Set
from dataclasses import replace
from types import ModuleType

from bncodemod.verify.attempts import Attempts
from bncodemod.verify.candidates import Candidate, needs_arguments
from bncodemod.verify.mentions import Mentions, aliases
from bncodemod.verify.model import Job, Site, in_order
from bncodemod.verify.reached import Reached, sites_in
from bncodemod.verify.steering import below_tests
from bncodemod.verify.variants import variants

_IDLE = 2  # builds in a row that reach nothing new, after which others are tried first
# Builds in a row that reach nothing, after which a module is given up: one with sites, and one that
# may only reach those of others.
_PATIENCE, _PATIENCE_WITH_OTHERS = 24, 4
_MOST_BRANCHES = 4  # other ways in which a candidate is built for sites that it holds
_MOST_SECONDS_FOR_PARTS = 20.0  # of a module's models that do not run as a whole
_MOST_USERS, _MOST_SECONDS_FOR_USERS = 12, 20.0  # of what was checked on inputs that are a guess


class Builder:
    """Builds the candidates of one module, in an order that soon reaches the wanted sites.

    What needs no arguments comes first: its parts show what they are built with and fed. Then come
    the classes and functions that hold wanted sites, then the others.
    """

    def __init__(
        self,
        job: Job,
        module: ModuleType,
        attempts: Attempts,
        candidates: list[Candidate],
    ) -> None:
        self.is_done = False
        self._job, self._module, self._attempts = job, module, attempts
        self._wanted: frozenset[Site] = frozenset()
        self._gain = False  # whether the last candidate reached what none before it had
        self._waiting = [each for each in candidates if each.name not in job.skip]
        self._candidates = {each.name: each for each in candidates}
        self._patience = _PATIENCE if job.sites else _PATIENCE_WITH_OTHERS
        self._mentions = Mentions(job.path)
        self._plan = self._planned()

    def named(self) -> list[Reached]:
        """The candidates that the user names, all of them."""
        named = {example.name for example in self._job.examples}
        chosen = [each for each in self._waiting if each.name in named]
        self._waiting = [each for each in self._waiting if each.name not in named]
        return [built for each in chosen if (built := self._build(each)) is not None]

    def reach(self, wanted: frozenset[Site]) -> Iterator[Reached]:
        """Build on until all of the sites are reached, or nothing is left to build."""
        self._wanted = wanted
        while self._wanted:
            candidate = next(self._plan, None)
            if candidate is None:
                self.is_done = True
                yield from self._other_branches()
                yield from self._in_parts()
                return
            built = self._build(candidate)
            sites = built.sites if built is not None else frozenset()
            self._gain = bool(self._wanted & sites)
            self._wanted -= sites
            if built is not None:
                yield built

    def _other_branches(self) -> Iterator[Reached]:
        """Candidates built another time, for the branches that their first call passes by."""
        for candidate in self._candidates.values():
            idle: set[Site] = set()  # built, and run by nothing: they are no reason to stop at
            for _ in range(_MOST_BRANCHES):
                built = self._branch(candidate, idle)
                if built is None:
                    break
                held = sites_in(built.prepared.constructed.module)
                if built.sites & self._wanted:
                    self._wanted -= built.sites
                    yield built
                elif held <= idle:
                    break
                idle |= held

    def _branch(self, candidate: Candidate, idle: Set[Site]) -> Reached | None:
        missing = below_tests(candidate.target, in_order(self._held(candidate) - idle))
        if not missing or candidate.name in self._attempts.refused:
            return None
        other = replace(candidate, variant="for another branch")
        return self._attempts.named_by_call(other, missing)

    def _in_parts(self) -> Iterator[Reached]:
        """What was built and does not run as a whole, by those of its parts that it calls."""
        end = time.process_time() + _MOST_SECONDS_FOR_PARTS
        unfed = [self._candidates[name] for name in self._attempts.unfed]
        for candidate in sorted(unfed, key=lambda each: not self._held(each)):
            if time.process_time() > end:
                return
            if self._holds_wanted(candidate) or self._leads(candidate):
                if self._attempts.is_stopped_by_rewrite(candidate):  # which parts would hide
                    continue
                in_parts = replace(candidate, variant="in parts")
                built = self._attempts.named_by_call(in_parts, self._wanted, by_parts=True)
                if built is not None:
                    self._wanted -= built.sites
                    yield built

    def smaller(self, sites: frozenset[Site]) -> Iterator[Reached]:
        """Build what may reach the sites at less cost: their owners, and the parts of models."""
        self._wanted = sites
        for candidate in self._taken(lambda each: self._holds_wanted(each) or self._is_part(each)):
            is_part = self._attempts.is_sighted(candidate)  # before it is built itself
            built = self._build(candidate)
            while built is not None:
                gained = self._wanted & built.sites
                self._wanted -= built.sites
                yield replace(built, is_part=is_part)
                built = self._with_other_norms(candidate) if gained else None

    def _with_other_norms(self, candidate: Candidate) -> Reached | None:
        """The same part as other models build it, for the sites that are left."""
        if not self._is_part(candidate):
            return None
        built = self._attempts.again(replace(candidate, variant="with another norm"), self._wanted)
        gained = built.sites & self._wanted if built is not None else frozenset()
        if built is None or not gained:
            return None
        lines = ", ".join(str(site.line) for site in in_order(gained))
        named = replace(candidate, variant=f"with the norm of line {lines}")
        return None if named.title in self._job.skip else replace(built, candidate=named)

    def variants(self, sites: frozenset[Site]) -> Iterator[Reached]:
        """Build what holds the sites as calls in the project do that make other norms there."""
        self._wanted = sites
        for candidate in self._candidates.values():
            calls = [call for call in self._job.calls if call.name == candidate.name]
            owners = (candidate.name, f"{candidate.name}.__init__")
            held = [site for site in self._held(candidate) if site.owner in owners]
            for call in variants(candidate.target, calls, held):
                variant = replace(candidate, call=call)
                if variant.title not in self._job.skip:
                    built = self._build(variant)
                    if built is not None:
                        yield built

    def others(self, sites: frozenset[Site]) -> Iterator[Reached]:
        """Build on for sites that are reached already: what leads to them without arguments."""
        self._wanted = sites
        leading = self._taken(lambda each: not needs_arguments(each) and self._leads(each))
        for candidate in itertools.islice(leading, _PATIENCE):
            if (built := self._build(candidate)) is not None:
                yield built

    def using(self, names: Set[str], sites: frozenset[Site]) -> Iterator[Reached]:
        """Build what uses candidates of these names and reaches the sites, the outermost first.

        What does not run as a whole is run by its parts.
        """
        self._wanted = sites
        words = {name.rpartition(".")[2] for name in names} | aliases(self._module, names)
        end = time.process_time() + _MOST_SECONDS_FOR_USERS
        for name in self._mentions.users_of(words, self._candidates)[:_MOST_USERS]:
            if time.process_time() > end or name in self._job.skip or name in names:
                continue
            candidate = self._candidates[name]
            if candidate in self._waiting:
                self._waiting.remove(candidate)
                built = self._build(candidate)
            else:
                built = self._attempts.again(candidate, sites)
            if built is None and name in self._attempts.unfed:
                in_parts = replace(candidate, variant="in parts")
                built = self._attempts.named_by_call(in_parts, sites, by_parts=True)
            if built is not None:
                self._attempts.refused.pop(name, None)  # it may have been for want of other norms
                yield built

    def _is_part(self, candidate: Candidate) -> bool:
        """Whether a model that was built holds one, while sites are wanted."""
        return bool(self._wanted) and self._attempts.is_sighted(candidate)

    def _planned(self) -> Iterator[Candidate]:
        yield from self._taken(lambda each: not needs_arguments(each) and self._holds_wanted(each))
        quick = self._taken(lambda each: not needs_arguments(each))
        yield from self._while_gaining(quick, _IDLE)
        yield from self._taken(self._holds_wanted)
        yield from self._while_gaining(self._rest(), self._patience)
        for name in list(self._attempts.refused):  # by now others have shown how
            candidate = self._candidates[name]
            if self._holds_wanted(candidate):
                yield candidate

    def _while_gaining(self, candidates: Iterator[Candidate], patience: int) -> Iterator[Candidate]:
        """Candidates, until so many in a row have reached nothing new."""
        idle = 0
        for candidate in candidates:
            yield candidate
            idle = 0 if self._gain else idle + 1
            if idle == patience:
                return

    def _rest(self) -> Iterator[Candidate]:
        yield from self._taken(lambda each: not needs_arguments(each) and self._leads(each))
        yield from self._taken(self._leads)
        yield from self._taken(lambda each: True)

    def _taken(self, choose: Callable[[Candidate], bool]) -> Iterator[Candidate]:
        """Those of the waiting candidates that are chosen when their turn comes."""
        for candidate in list(self._waiting):
            if candidate in self._waiting and choose(candidate):
                self._waiting.remove(candidate)
                yield candidate

    def _held(self, candidate: Candidate) -> frozenset[Site]:
        """The wanted sites that stand in the candidate's own text."""
        return frozenset(
            site
            for site in self._wanted
            if site.path == self._job.path and f"{site.owner}.".startswith(f"{candidate.name}.")
        )

    def _holds_wanted(self, candidate: Candidate) -> bool:
        return bool(self._held(candidate))

    def _leads(self, candidate: Candidate) -> bool:
        """Whether the candidate's text, or what it mentions, names what holds a wanted site."""
        owners = {site.owner.partition(".")[0] for site in self._wanted} - {""}
        return bool(owners & self._mentions.all_of(candidate.name.partition(".")[0]))

    def _build(self, candidate: Candidate) -> Reached | None:
        """Built so that the candidate's own sites are reached, else so that any wanted one is.

        A block that is built as a bigger model does may be given its norms by that model.
        """
        return self._attempts.build(candidate, (self._held(candidate), self._wanted))
