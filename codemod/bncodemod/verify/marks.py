"""Marks on values that make norms: what is built through them knows the expression it came from.

The user's code must not be able to tell. A partial stays the very object that it is: the names of
its keywords are strings of our own, which every call that hands them on keeps, so that the norm
that is given one of them knows the site, also where the partial was taken apart. Of a function
there is a copy, known by its code in the frames that run it. A class becomes a class that passes
for it and builds what it builds; :func:`plain` gives what stands behind these two.

Code may also look up what to build by the name of a class: norms that are built where that was
read, in a function that holds the class, are known as the site's.
"""

from __future__ import annotations

import copyreg
import functools
import inspect
import sys
import types
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import nn

from bncodemod.verify.looking import is_instance
from bncodemod.verify.model import Site, SiteKind

_ORIGINAL = "__bncodemod_original__"  # what a class passes for
_sites: list[Site] = []  # by the numbers in the compiled modules, which outlive a job
_numbers: dict[Site, int] = {}
_building: list[Site] = []  # the value sites that are being called, outermost first
_looked_up: list[tuple[types.FrameType, Site]] = []  # whose class was looked up by name, and where
_HOLDERS = 2  # the function that looks a name up, and the one that calls it

_NAME: Any = vars(type)["__name__"]
# How sites of other kinds than values are watched: what is called there is replaced by the answer.
WATCHERS: dict[SiteKind, Callable[[Site, Any], Any]] = {}

Class = TypeVar("Class", bound=type)


def sites_being_called() -> tuple[Site, ...]:
    """The value sites through which the code that runs now was called."""
    return tuple(_building)


@contextmanager
def _calling(site: Site) -> Iterator[None]:
    _building.append(site)
    try:
        yield
    finally:
        _building.pop()


def sites_looked_up(frame: types.FrameType | None) -> frozenset[Site]:
    """The sites whose classes were looked up in a function that still runs."""
    if not _looked_up:
        return frozenset()
    running = set()
    while frame is not None:
        running.add(frame)
        frame = frame.f_back
    return frozenset(site for holder, site in _looked_up if holder in running)


@contextmanager
def lookups() -> Iterator[None]:
    """Forget at the end what was looked up: frames keep alive what they hold."""
    global _last_call
    try:
        yield
    finally:
        _looked_up.clear()
        _last_call = None


def _note_lookup(site: Site, value: type, frame: types.FrameType | None) -> None:
    holders = 0
    while frame is not None and holders < _HOLDERS:
        if any(_holds(each, value) for each in frame.f_locals.values()):
            _looked_up.append((frame, site))
            holders += 1
        frame = frame.f_back


def sites_on(trace: types.TracebackType | None) -> frozenset[Site]:
    """The value sites that were being called where an error was raised."""
    found: set[Site] = set()
    while trace is not None:
        frame = trace.tb_frame
        if (own := site_of_code(frame.f_code)) is not None:
            found.add(own)
        elif frame.f_code.co_filename == __file__ and isinstance(frame.f_locals.get("site"), Site):
            found.add(frame.f_locals["site"])
        elif _last_call is not None and _last_call[:2] == (frame, trace.tb_lasti):
            found |= _last_call[2]
        trace = trace.tb_next
    return frozenset(found)


def _holds(each: Any, value: type) -> bool:
    return each is value or (is_instance(each, functools.partial) and each.func is value)


def marked(site: Site, value: Any) -> Any:
    """``value``, which builds norms that are known as those of ``site``."""
    if type(value) is functools.partial:
        _mark_partial(site, value)
        return value
    if inspect.isclass(value):
        return _marked_class(site, value) if issubclass(value, nn.Module) else value
    return _marked_function(site, value) if type(value) is types.FunctionType else value


def plain(value: Any) -> Any:
    """What stands behind a marked class or function; anything else is what it is."""
    if type(value) is types.FunctionType:
        return _functions.get(value, value)
    return vars(value).get(_ORIGINAL, value) if is_instance(value, type) else value


# Partials: names of keywords as invisible ink.
_ink: dict[tuple[Site, str], str] = {}
_inked: dict[int, Site] = {}  # by the ids of the strings above
_Call = tuple[types.FrameType, int, frozenset[Site]]
_last_call: _Call | None = None  # of what was given such a name: where, and of which sites


def _mark_partial(site: Site, value: functools.partial[Any]) -> None:
    """Have what a partial builds know the site; the partial is another one to nobody."""
    keywords = {_inked_name(site, name): each for name, each in value.keywords.items()}
    function = value.func
    if not (inspect.isclass(function) and sites_of_names(keywords)):
        function = marked(site, function)  # a function may not hand the names on
    itself: Any = value
    # None is what it has for an empty __dict__: with one, partials of it would be nested.
    itself.__setstate__((function, value.args, keywords, value.__dict__ or None))


def _inked_name(site: Site, name: str) -> str:
    """An equal string by which the site is known; the same one if there can be no other."""
    if id(name) in _inked or len(name) < 2:
        return name
    if (site, name) not in _ink:
        sys.intern(name)  # so that ours never becomes the one that everybody has
        own = name[:1] + name[1:]
        _ink[site, name] = own
        _inked[id(own)] = site
    return _ink[site, name]


def sites_of_names(names: Iterable[str]) -> frozenset[Site]:
    """The sites that some of the names of keywords come from."""
    return frozenset(_inked[id(name)] for name in names if id(name) in _inked)


def note_call(names: Iterable[str], frame: types.FrameType) -> frozenset[Site]:
    """The sites that names of keywords come from, with which something is called in a frame."""
    global _last_call
    if sites := sites_of_names(names):
        _last_call = frame, frame.f_lasti, sites
    return sites


# Functions: copies, known by their code.
_functions: weakref.WeakKeyDictionary[types.FunctionType, types.FunctionType] = (
    weakref.WeakKeyDictionary()
)
_codes: dict[tuple[Site, types.CodeType], types.CodeType] = {}
_sites_of_codes: dict[int, Site] = {}  # by the ids of the codes above


def _marked_function(site: Site, value: types.FunctionType) -> types.FunctionType:
    code = value.__code__
    if (site, code) not in _codes:
        own = _codes[site, code] = code.replace()
        _sites_of_codes[id(own)] = site
    copy = types.FunctionType(
        _codes[site, code],
        value.__globals__,
        value.__name__,
        value.__defaults__,
        value.__closure__,
    )
    for name in ("__kwdefaults__", "__annotations__", "__module__", "__doc__", "__qualname__"):
        setattr(copy, name, getattr(value, name))
    copy.__dict__.update(value.__dict__)
    _functions[copy] = value
    return copy


def site_of_code(code: types.CodeType) -> Site | None:
    """The site whose function runs where this is the code of a frame."""
    return _sites_of_codes.get(id(code))


def _marked_class(site: Site, original: Class) -> Class:
    """A class that equals ``original``, is one of its kind, and builds instances of it."""

    class Marked(type(original)):  # type: ignore[misc]
        def __call__(cls, /, *args: Any, **kwargs: Any) -> Any:
            with _calling(site):
                if cls is stand_in:
                    return original(*args, **kwargs)
                return super().__call__(*args, **kwargs)

        def _name(cls) -> str:
            if cls is stand_in:
                _note_lookup(site, cls, sys._getframe(1))
            return str(_NAME.__get__(cls))

        __name__: Any = property(_name, _NAME.__set__)

        @property
        def __signature__(cls) -> inspect.Signature:
            if cls is stand_in:
                return inspect.signature(original)
            raise AttributeError("__signature__")

        def __instancecheck__(cls, instance: Any) -> bool:
            if cls is stand_in:
                return isinstance(instance, original)
            return bool(super().__instancecheck__(instance))

        def __subclasscheck__(cls, subclass: type) -> bool:
            if cls is stand_in:
                return issubclass(subclass, original)
            return bool(super().__subclasscheck__(subclass))

        def __eq__(cls, other: object) -> bool:
            return cls is other or (cls is stand_in and other is original)

        def __hash__(cls) -> int:
            return hash(original) if cls is stand_in else super().__hash__()

    names = {name: getattr(original, name) for name in ("__module__", "__qualname__", "__doc__")}
    stand_in = Marked(original.__name__, (original,), {**names, _ORIGINAL: original})
    copyreg.pickle(
        Marked, lambda cls: (_itself, (original,)) if cls is stand_in else cls.__qualname__
    )
    return stand_in


def _itself(value: Any) -> Any:
    return value


def number_of(site: Site) -> int:
    if site not in _numbers:
        _numbers[site] = len(_sites)
        _sites.append(site)
    return _numbers[site]


def at_number(number: int, value: Any) -> Any:
    site = _sites[number]
    return WATCHERS.get(site.kind, marked)(site, value)
