"""What is seen while models are built and run: how their parts are built, and what they are fed.

A block such as ``BasicBlock(inplanes, planes, …)`` says little about its arguments; the model
that holds it says all. While a :class:`Harvest` is open, it records the arguments of each module
that is constructed, and the shapes of the first inputs that it is called with.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import os
import sys
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from torch import nn

from bncodemod.verify.arguments import Arguments, Fresh, refresh
from bncodemod.verify.looking import file_of, text
from bncodemod.verify.offline import replaced
from bncodemod.verify.specs import Feed, describe

_MOST_ALIKE_BUT_FOR_SIZES = 12  # ways of building one class with the same classes and functions
_MOST_PER_CLASS = 96  # ways of building one class
_MOST_ALIKE = 2  # ways of building other classes that are tried for one


@dataclass
class Sighting:
    """One module that was built, with what it was fed once it has been called.

    ``makers`` are the ids of the classes and functions that it was given to make its parts of, and
    ``rank`` counts those of its class that were given the same before.
    """

    positional: tuple[Any, ...]
    keywords: dict[str, Any]
    feed: Feed | None = None
    makers: frozenset[int] = frozenset()
    rank: int = 0


class Harvest:
    """Records the constructions and first inputs of modules while it is open (``with``).

    ``roots`` are the folders of the user's code: classes of other code are remembered only as
    long as an instance lives, so that a module passed to a constructor can be built again.
    Classes that come to be while it is open are not watched.
    """

    def __init__(self, roots: Sequence[str]) -> None:
        self._roots = tuple(os.path.join(os.path.realpath(root), "") for root in roots)
        self._sightings: dict[type, list[Sighting]] = {}
        self._origins: weakref.WeakKeyDictionary[nn.Module, Sighting] = weakref.WeakKeyDictionary()
        self._is_users: dict[type, bool] = {}
        self._batch: int | None = None
        self.steps = 0  # modules that were built and calls of modules, so far
        self._patches = ExitStack()

    def __enter__(self) -> Harvest:
        call = nn.Module.__call__

        @functools.wraps(call)
        def calling(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            self.steps += 1
            if self._batch is not None:
                self._fed(module, args, kwargs)
            return call(module, *args, **kwargs)

        self._patches.enter_context(replaced(nn.Module, "__call__", calling))
        self._patches.enter_context(_told_of_calls(self._built))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._patches.close()

    def watch(self, batch: int | None) -> None:
        """From now on inputs are recorded as those of a batch of this size; None: no more."""
        self._batch = batch

    def sightings(self, target: type) -> Iterator[Sighting]:
        """How ``target`` was built: those that were also run first, and with each norm in turn."""
        known = self._sightings.get(target, ())
        yield from sorted(known, key=lambda seen: (seen.feed is None, seen.rank))

    def alike(self, names: Collection[str]) -> Iterator[dict[str, Any]]:
        """What other classes were given under names that tell, as ``block_args``."""
        found: list[dict[str, Any]] = []
        for seen in itertools.chain.from_iterable(self._sightings.values()):
            shared = {name: seen.keywords[name] for name in names if name in seen.keywords}
            telling = any(isinstance(each, (list, tuple, dict)) for each in shared.values())
            if telling and len(found) < _MOST_ALIKE and len(shared) == len(names):
                values = {name: self._repeatable(value) for name, value in shared.items()}
                found.append(values)
        return iter(found)

    def feeds(self, module: nn.Module) -> list[Feed]:
        """What this module was fed, or one of its class that was built alike."""
        origin = self._origins.get(module)
        known = self._sightings.get(type(module), ())
        alike = [other for other in known if origin is not None and _alike(origin, other)]
        seen = [origin, *alike] if origin is not None else alike
        return [each.feed for each in seen if each.feed is not None][:1]

    def forget_feeds(self, module: nn.Module) -> None:
        """Forget what the parts of a module were fed, and those that were built alike."""
        for part in module.modules():
            if (origin := self._origins.get(part)) is not None:
                for each in (origin, *self._sightings.get(type(part), ())):
                    if _alike(origin, each):
                        each.feed = None

    def arguments(self, seen: Sighting) -> Arguments:
        """The arguments of a sighting; modules among them are built anew for each use."""
        return Arguments.of(
            tuple(self._repeatable(value) for value in seen.positional),
            self.keywords(seen),
        )

    def keywords(self, seen: Sighting) -> dict[str, Any]:
        """The named arguments of a sighting, to be changed."""
        return {name: self._repeatable(value) for name, value in seen.keywords.items()}

    def _repeatable(self, value: Any) -> Any:
        if isinstance(value, nn.Module):
            origin = self._origins.get(value)
            if origin is None:
                return value
            kind, arguments = type(value), self.arguments(origin)
            return Fresh(f"{kind.__name__}({arguments.text})", lambda: arguments.call(kind))
        if type(value) in (list, tuple):
            return type(value)(self._repeatable(item) for item in value)
        if type(value) is dict:
            return {key: self._repeatable(item) for key, item in value.items()}
        return value

    def _built(self, module: nn.Module, arguments: _Arguments) -> None:
        self.steps += 1
        kind = type(module)
        seen = Sighting(*_by_name(kind, *arguments))
        self._origins[module] = seen
        known = self._sightings.setdefault(kind, []) if self._belongs(kind) else None
        if known is None or len(known) >= _MOST_PER_CLASS:
            return
        values = (*seen.positional, *seen.keywords.values())
        makes = (v for v in values if callable(v) and not isinstance(v, nn.Module))
        seen.makers = frozenset(map(id, makes))
        others = [other for other in known if other.makers == seen.makers]
        seen.rank = len(others)
        if seen.rank < _MOST_ALIKE_BUT_FOR_SIZES:
            if not any(_alike(seen, other) for other in others):
                known.append(seen)

    def _fed(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self._belongs(type(module)) or (seen := self._origins.get(module)) is None:
            return
        known = self._sightings.get(type(module), ())
        for other in (seen, *(other for other in known if _alike(seen, other))):
            feed = describe(args, kwargs, self._batch or 1)
            if other.feed is None or feed.count < other.feed.count:
                other.feed = feed

    def _belongs(self, kind: type) -> bool:
        if kind not in self._is_users:
            module = sys.modules.get(text(kind, "__module__"))
            self._is_users[kind] = file_of(module).startswith(self._roots)
        return self._is_users[kind]


_Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@contextmanager
def _told_of_calls(built: Callable[[nn.Module, _Arguments], None]) -> Iterator[None]:
    """``built`` gets each new module with what its outermost constructor was called with.

    In a constructor's frame the arguments may have been changed by then, and a ``__new__`` that
    sees them would hide the signatures of constructors.
    """
    calls: dict[int, _Arguments] = {}  # of the constructors that are running, by their modules
    whole = nn.Module.__init__

    def telling(construct: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(construct)
        def constructing(module: nn.Module, /, *args: Any, **kwargs: Any) -> None:
            is_outermost = id(module) not in calls
            if is_outermost:
                # Copies: constructors take things out of the lists and dicts that they are given.
                calls[id(module)] = refresh((args, kwargs))
            try:
                construct(module, *args, **kwargs)
                if construct is whole:
                    built(module, calls[id(module)])
            finally:
                if is_outermost:
                    del calls[id(module)]

        return constructing

    constructors = [(kind, vars(kind).get("__init__")) for kind in _kinds(nn.Module)]
    saved = [(kind, each) for kind, each in constructors if inspect.isfunction(each)]
    try:
        for kind, construct in saved:
            type.__setattr__(kind, "__init__", telling(construct))
        yield
    finally:
        for kind, construct in saved:
            type.__setattr__(kind, "__init__", construct)


def _kinds(base: type) -> Iterable[type]:
    """A class and all that are made of it."""
    found = {id(base): base}
    waiting = [base]
    while waiting:
        below: list[type] = type.__subclasses__(waiting.pop())
        for kind in below:
            if id(kind) not in found:
                found[id(kind)] = kind
                waiting.append(kind)
    return found.values()


# A model builds hundreds of layers of a few classes.
_signature = functools.lru_cache(maxsize=512)(inspect.signature)


def _by_name(kind: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Arguments:
    """The same arguments as keywords, as far as they can be given so."""
    try:
        signature = _signature(kind.__init__)  # type: ignore[misc]
        bound = signature.bind(None, *args, **kwargs)
    except (TypeError, ValueError):
        return args, kwargs
    named: dict[str, Any] = {}
    for place, (name, value) in enumerate(bound.arguments.items()):
        parameter = signature.parameters[name]
        if place == 0 and parameter.kind is not parameter.VAR_POSITIONAL:
            continue  # self
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            return args, kwargs
        named |= value if parameter.kind is parameter.VAR_KEYWORD else {name: value}
    return (), named


def _alike(one: Sighting, other: Sighting) -> bool:
    """Whether two sightings have the same arguments; modules count by their classes."""
    return one is other or (
        (len(one.positional), one.keywords.keys()) == (len(other.positional), other.keywords.keys())
        and all(map(_same, one.positional, other.positional))
        and all(_same(value, other.keywords[name]) for name, value in one.keywords.items())
    )


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if type(one) in (list, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, (int, float, str)):
        return bool(one == other)
    return one is other or isinstance(one, nn.Module)
