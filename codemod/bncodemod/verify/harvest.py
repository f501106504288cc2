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
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import CodeType, FrameType, TracebackType
from typing import Any

from torch import nn

from bncodemod.verify.arguments import Arguments, Fresh, refresh
from bncodemod.verify.offline import replaced
from bncodemod.verify.specs import Feed, describe

_MOST_PER_CLASS = 12  # different ways of building one class
_MOST_ALIKE = 2  # ways of building other classes that are tried for one


@dataclass
class Sighting:
    """One module that was built, with what it was fed once it has been called."""

    positional: tuple[Any, ...]
    keywords: dict[str, Any]
    feed: Feed | None = None


class Harvest:
    """Records the constructions and first inputs of modules while it is open (``with``).

    ``roots`` are the folders of the user's code: classes of other code are remembered only as
    long as an instance lives, so that a module passed to a constructor can be built again.
    """

    def __init__(self, roots: Sequence[str]) -> None:
        self._roots = tuple(os.path.join(os.path.realpath(root), "") for root in roots)
        self._sightings: dict[type, list[Sighting]] = {}
        self._origins: weakref.WeakKeyDictionary[nn.Module, Sighting] = weakref.WeakKeyDictionary()
        self._is_users: dict[type, bool] = {}
        self._batch: int | None = None
        self._patches = ExitStack()

    def __enter__(self) -> Harvest:
        construct, call = nn.Module.__init__, nn.Module.__call__

        @functools.wraps(construct)
        def constructing(module: nn.Module, *args: Any, **kwargs: Any) -> None:
            construct(module, *args, **kwargs)
            self._built(module, sys._getframe(1))

        @functools.wraps(call)
        def calling(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if self._batch is not None:
                self._fed(module, args, kwargs)
            return call(module, *args, **kwargs)

        self._patches.enter_context(replaced(nn.Module, "__init__", constructing))
        self._patches.enter_context(replaced(nn.Module, "__call__", calling))
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
        """How ``target`` was built, those that were also run first."""
        yield from sorted(self._sightings.get(target, ()), key=lambda seen: seen.feed is None)

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

    def _built(self, module: nn.Module, frame: FrameType | None) -> None:
        """Note the arguments of the constructor that is running, as its frame holds them."""
        outermost = None
        while frame is not None and _first_argument(frame) is module:
            if frame.f_code.co_name == "__init__":
                outermost = frame
            frame = frame.f_back
        positional, keywords = _arguments(outermost) if outermost is not None else ((), {})
        # Copies: constructors take things out of the lists and dicts that they are given.
        seen = Sighting(refresh(positional), refresh(keywords))
        self._origins[module] = seen
        kind = type(module)
        known = self._sightings.setdefault(kind, []) if self._belongs(kind) else None
        if known is None or len(known) >= _MOST_PER_CLASS:
            return
        if not any(_alike(seen, other) for other in known):
            known.append(seen)

    def _fed(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self._belongs(type(module)) or (seen := self._origins.get(module)) is None:
            return
        known = self._sightings.get(type(module), ())
        for other in (seen, *(other for other in known if _alike(seen, other))):
            if other.feed is None:
                other.feed = describe(args, kwargs, self._batch or 1)

    def _belongs(self, kind: type) -> bool:
        if kind not in self._is_users:
            module = sys.modules.get(kind.__module__)
            path = os.path.realpath(getattr(module, "__file__", None) or "")
            self._is_users[kind] = path.startswith(self._roots)
        return self._is_users[kind]


def _first_argument(frame: FrameType) -> Any:
    """``self``, where the frame is that of a method."""
    code = frame.f_code
    return frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None


def _arguments(frame: FrameType) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments that a constructor's frame was called with, ``self`` left out.

    All named ones become keywords, unless values for ``*args`` follow them.
    """
    code, values = frame.f_code, frame.f_locals
    names = code.co_varnames[1 : code.co_argcount]
    only_keywords = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    rest, more = _variadic(code, values)
    keywords = {name: values[name] for name in only_keywords if name in values} | more
    given = {name: values[name] for name in names if name in values}
    if rest or code.co_posonlyargcount > 1:
        return (*given.values(), *rest), keywords
    return (), given | keywords


def _variadic(code: CodeType, values: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What ``*args`` and ``**kwargs`` hold."""
    place = code.co_argcount + code.co_kwonlyargcount
    rest: tuple[Any, ...] = ()
    if code.co_flags & inspect.CO_VARARGS:
        rest = values.get(code.co_varnames[place], ())
        place += 1
    if code.co_flags & inspect.CO_VARKEYWORDS:
        return rest, dict(values.get(code.co_varnames[place], {}))
    return rest, {}


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
