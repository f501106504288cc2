"""Building a candidate: the user's word first, then no arguments, then what can be found out."""

from __future__ import annotations

import inspect
import time
import types
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from bncodemod.verify import meta
from bncodemod.verify.answers import module_of
from bncodemod.verify.arguments import Arguments
from bncodemod.verify.deduce import Deduction, parameters
from bncodemod.verify.harvest import Harvest, Sighting
from bncodemod.verify.marks import lookups
from bncodemod.verify.model import Built, Example, Job, Site
from bncodemod.verify.offline import offline
from bncodemod.verify.promises import builds_module
from bncodemod.verify.refusal import Refusal, furthest, refused
from bncodemod.verify.repair import repairs
from bncodemod.verify.specs import Feed
from bncodemod.verify.steering import own_parameters, steered

_MOST_ATTEMPTS = 60
_MOST_SECONDS = 20.0
_MOST_ALIKE = 3  # equal errors of modules that were built, before their arguments are left alone
_MOST_BASES = 2  # ways in which others build a class that are changed
_LONGEST = 300  # characters of a call's arguments in a report

T = TypeVar("T")


class Rebuild(Protocol):
    """Builds a module anew; with ``other``, the same arguments go to another target."""

    def __call__(
        self, device: torch.device, other: Callable[..., Any] | None = None
    ) -> nn.Module: ...


@dataclass(frozen=True)
class Constructed:
    """A module that was built; ``rebuild`` makes it again on a device, from the caller's seed.

    ``module`` is on the meta device, or on the CPU where its constructor asks for values.
    ``feeds`` are what it is known to be fed: the text or shapes of an example, or what was seen.
    """

    module: nn.Module
    how: Built
    call: str
    rebuild: Rebuild
    feeds: tuple[Feed | Example, ...] = ()


@dataclass(frozen=True)
class _Attempt:
    how: Built
    arguments: Arguments
    feeds: tuple[Feed | Example, ...] = ()


def construct(
    target: Callable[..., Any],
    name: str,
    namespace: types.ModuleType,
    job: Job,
    harvest: Harvest,
    accept: Callable[[Constructed], T | Refusal],
) -> T | Refusal:
    """What ``accept`` makes of the first way of building ``target`` that it does not refuse.

    Where the user has said how to build it, nothing else is tried. Arguments that were deduced
    are mended after a failure, of the constructor or of ``accept``, as far as its error goes.
    """
    is_named = any(example.name == name for example in job.examples)
    if not is_named and not builds_module(target):
        return Refusal("nothing says that it builds a module")
    attempts = _Attempts(target, name, namespace, job, harvest)
    not_built: list[Refusal] = []
    not_accepted: list[Refusal] = []
    with offline():
        for attempt in attempts:
            before = harvest.steps
            made = _build(target, name, attempt)
            if isinstance(made, Refusal):
                not_built.append(replace(made, steps=harvest.steps - before))
                attempts.mend(attempt, made)
                continue
            answer = accept(made)
            if not isinstance(answer, Refusal):
                return answer
            not_accepted.append(answer)
            attempts.mend(attempt, answer)
            if sum(repr(other.error) == repr(answer.error) for other in not_accepted) > _MOST_ALIKE:
                attempts.mend_no_more()  # no argument changes it
    refusals = not_accepted or not_built
    return furthest(refusals) if refusals else Refusal("nothing says how to build it")


class _Attempts:
    """Ways of building one candidate, mended ones before those that come after them."""

    def __init__(
        self,
        target: Callable[..., Any],
        name: str,
        namespace: types.ModuleType,
        job: Job,
        harvest: Harvest,
    ) -> None:
        self._target = target
        self._deduction = Deduction(harvest)
        self._sources = self._planned(name, namespace, job, harvest)
        self._mended: deque[_Attempt] = deque()
        self._tried: set[tuple[str, frozenset[int]]] = set()

    def __iter__(self) -> Iterator[_Attempt]:
        end = time.process_time() + _MOST_SECONDS
        while len(self._tried) < _MOST_ATTEMPTS and time.process_time() < end:
            attempt = self._mended.popleft() if self._mended else next(self._sources, None)
            if attempt is None:
                return
            key = attempt.arguments.text, attempt.arguments.makers
            if key not in self._tried:
                self._tried.add(key)
                yield attempt

    def mend(self, attempt: _Attempt, refusal: Refusal) -> None:
        """Queue what might work where ``attempt`` did not."""
        values = attempt.arguments.values
        if values is None or refusal.error is None:
            return
        for changed in repairs(refusal.error, self._target, values, self._deduction):
            self._mended.append(_Attempt(Built.DEDUCED, Arguments.deduced(changed)))

    def mend_no_more(self) -> None:
        """Go back to what was planned."""
        self._mended.clear()

    def _planned(
        self, name: str, namespace: types.ModuleType, job: Job, harvest: Harvest
    ) -> Iterator[_Attempt]:
        said = [each for each in job.examples if each.name == name]
        for example in said:
            yield _written(Built.EXAMPLE, example, namespace)
        if said:
            return
        required = self._deduction.required(self._target)
        if not any(value is not None and value is not False for value in required.values()):
            yield _Attempt(Built.NO_ARGUMENTS, Arguments.deduced(required))
        for call in job.calls:
            if call.name == name:
                yield _written(Built.CALL, call, namespace)
        seen = harvest.sightings(self._target) if inspect.isclass(self._target) else ()
        shown = [(each, _feeds(each)) for each in seen]
        for each, feeds in shown:
            yield _Attempt(Built.HARVESTED, harvest.arguments(each), feeds)
        bases = [(harvest.keywords(each), feeds) for each, feeds in shown[:_MOST_BASES]]
        bases += [({**required, **found}, ()) for found in harvest.alike(required)]
        sites = [s for s in job.sites if _is_below(s.owner, name) and s not in job.done]
        yield from self._steered(sites, required, bases)

    def _steered(
        self,
        sites: list[Site],
        required: dict[str, Any],
        bases: list[tuple[dict[str, Any], tuple[Feed, ...]]],
    ) -> Iterator[_Attempt]:
        """What was deduced, and calls that lead to sites which those before have not come by."""
        own = own_parameters(self._target, sites)
        others = [({k: v for k, v in base.items() if k not in own}, f) for base, f in bases]
        for values, feeds in others if sites else ():
            yield _Attempt(Built.DEDUCED, Arguments.deduced(values), feeds)
        yield _Attempt(Built.DEDUCED, Arguments.deduced(required))
        defaults = {p.name: p.default for p in parameters(self._target)} | required
        wishes = steered(self._target, sites, defaults, self._value_of, self._deduction.instance)
        for wish in wishes:
            for values, feeds in [(required, ()), *others]:
                yield _Attempt(Built.DEDUCED, Arguments.deduced({**values, **wish}), feeds)

    def _value_of(self, name: str) -> Any:
        return self._deduction.named(name, self._target)


def _feeds(seen: Sighting) -> tuple[Feed, ...]:
    return (seen.feed,) if seen.feed is not None else ()


def _is_below(owner: str, name: str) -> bool:
    """Whether a site's owner is a class or function, or stands in it."""
    return f"{owner}.".startswith(f"{name}.")


def _written(how: Built, example: Example, namespace: types.ModuleType) -> _Attempt:
    arguments = Arguments.written(example.arguments, namespace)
    return _Attempt(how, arguments, (example,) if example.inputs else ())


def _build(target: Callable[..., Any], name: str, attempt: _Attempt) -> Constructed | Refusal:
    def rebuild(device: torch.device, other: Callable[..., Any] | None = None) -> nn.Module:
        # Some functions train the model that they give back.
        with offline(), lookups(), device, torch.enable_grad():
            module = module_of(attempt.arguments.call(other or target))
            module.train()
            return module.to(device)  # type: ignore[no-any-return]

    text = attempt.arguments.text
    call = f"{name}({text if len(text) <= _LONGEST else f'{text[:_LONGEST]}…'})"
    try:
        with lookups():
            module = meta.build(lambda: module_of(attempt.arguments.call(target)))
        if not isinstance(module, nn.Module):
            return Refusal(f"{call} gave a {type(module).__name__}, not a module")
        module.train()  # what it returns is not used: some forget to return themselves
    except Exception as error:
        return refused(f"{call} failed", error)
    return Constructed(module, attempt.how, call, rebuild, attempt.feeds)
