"""Which expression built a norm, and which norms ran.

While a :class:`Recorder` is open, each norm remembers the sites it was built at: those whose
expression was being evaluated in one of the frames below its constructor, and the value sites
through which it was called. Copies of a norm remember them too.
"""

from __future__ import annotations

import ast
import functools
import itertools
import linecache
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.module import register_module_forward_hook
from torch.overrides import TorchFunctionMode

from bncodemod.source.dotted_names import last_name
from bncodemod.verify.held import modules_in
from bncodemod.verify.marks import (
    note_call,
    site_of_code,
    sites_being_called,
    sites_looked_up,
)
from bncodemod.verify.model import Site, SiteKind
from bncodemod.verify.norm_calls import BATCH_NORMS, FUNCTIONS, GROUP_NORMS, Fed, NormCall

NORMS = (_NormBase, nn.GroupNorm)
_TORCH = os.path.join(os.path.dirname(torch.__file__), "")
_HERE = os.path.join(os.path.dirname(__file__), "")
_ORIGIN = "_bncodemod_sites"
_PLACE = "_bncodemod_place"
_CONSTRUCTORS = ("__init__", "constructing")  # the second is the recorder's own


def sites_of(norm: nn.Module) -> frozenset[Site]:
    """The sites that built a norm; none if it was built elsewhere or unseen."""
    sites: frozenset[Site] = norm.__dict__.get(_ORIGIN, frozenset())
    return sites


def add_site(norm: nn.Module, site: Site) -> None:
    """Have a norm remember one more site."""
    norm.__dict__[_ORIGIN] = sites_of(norm) | {site}


def place_of(norm: nn.Module) -> str:
    """Where a norm was built, in words."""
    place: str = norm.__dict__.get(_PLACE, "")
    return f"{type(norm).__name__} built at {place}" if place else type(norm).__name__


def norms_in(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The norms of a module, with their names; those in plain lists too."""
    return ((name, m) for name, m in modules_in(module) if isinstance(m, NORMS))


@dataclass
class Ran:
    """The sites whose norms ran, and how many numbers all norms put out.

    ``idle`` are the sites of norms that did not run and for which no other norm of the site
    speaks: they keep running statistics, or are of a class of which none ran. ``fed`` says what
    norms of sites were fed that take their statistics from each sample.
    """

    sites: set[Site]
    numbers: int = 0
    idle: set[Site] = field(default_factory=set)
    fed: set[tuple[Site, Fed]] = field(default_factory=set)

    def add_idle(self, norms: Iterable[nn.Module], seen: Collection[nn.Module]) -> None:
        """Note which sites made norms that were not ``seen`` to run."""
        kinds = {(site, type(norm)) for norm in seen for site in sites_of(norm)}
        for norm in norms:
            if norm not in seen:
                tracks = getattr(norm, "track_running_stats", False)
                self.idle |= {s for s in sites_of(norm) if tracks or (s, type(norm)) not in kinds}


class Recorder:
    """Has each norm that is constructed while it is open (``with``) remember its sites."""

    def __init__(self, sites: Sequence[Site]) -> None:
        self._frames = _FrameSites([site for site in sites if site.kind is SiteKind.CALL])
        self._saved: list[tuple[type, Any]] = []

    def __enter__(self) -> Recorder:
        for kind in NORMS:
            _note_names_given_to(kind)
            self._saved.append((kind, kind.__init__))
            kind.__init__ = self._recording(kind.__init__)  # type: ignore[method-assign]
        return self

    def __exit__(self, *exception: object) -> None:
        while self._saved:
            kind, construct = self._saved.pop()
            kind.__init__ = construct  # type: ignore[misc]

    def here(self) -> frozenset[Site]:
        """The sites that are being evaluated where this is called from."""
        frame = sys._getframe(1)
        called = frozenset(sites_being_called())
        return self._frames.above(frame) | called | sites_looked_up(frame)

    @contextmanager
    def transformed(self) -> Iterator[set[Site]]:
        """Collect the sites whose norms run under a transform of torch.func, all as in training.

        A patch may freeze norms: its sites count in whatever mode they run.
        """
        ran: set[Site] = set()
        frozen: set[Site] = set()

        def note(module: nn.Module, *_: Any) -> None:  # not of a norm that raises
            if isinstance(module, NORMS) and _is_transformed():
                ran.update(sites_of(module))
                if not _runs_as_in_training(module):
                    frozen.update(s for s in sites_of(module) if s.kind is not SiteKind.PATCH)

        hook = register_module_forward_hook(note)
        try:
            with _TransformedCalls(self) as calls:
                yield ran
        finally:
            hook.remove()
        ran |= calls.sites
        ran -= frozen

    def _recording(self, construct: Any) -> Any:
        @functools.wraps(construct)
        def constructing(norm: nn.Module, *args: Any, **kwargs: Any) -> None:
            sites = self.here() | sites_of(norm)
            construct(norm, *args, **kwargs)
            norm.__dict__[_ORIGIN] = sites
            norm.__dict__[_PLACE] = _outside_torch(sys._getframe(1))

        return constructing

    @contextmanager
    def running(self, module: nn.Module) -> Iterator[Ran]:
        """Collect the sites whose norms run while ``module`` does, and of calls of functions."""
        ran = Ran(set())
        seen: set[nn.Module] = set()

        def note(part: nn.Module, *_: Any) -> None:
            if isinstance(part, NORMS):
                seen.add(part)
                ran.sites.update(sites_of(part))

        hook = register_module_forward_hook(note)  # forward may build norms
        try:
            with NormCalls(self) as calls:
                yield ran
        finally:
            hook.remove()
        ran.sites.update(site for call in calls.seen for site in call.sites)
        ran.numbers = sum(call.answer.numel() for call in calls.seen)
        ran.fed = {(site, call.fed) for call in calls.seen if call.values for site in call.sites}
        ran.add_idle((norm for _, norm in norms_in(module)), seen)


def _note_names_given_to(kind: Any) -> None:
    """Have a norm know the sites of the keywords that its class, or one made of it, is given.

    This stays: a class from which ``__new__`` was taken again takes no arguments any more.
    """
    if "__new__" in vars(kind):
        return

    def new(cls: type, *args: Any, **kwargs: Any) -> Any:
        above: Any = super(kind, cls).__new__
        norm = above(cls) if above is object.__new__ else above(cls, *args, **kwargs)
        if kwargs and (sites := note_call(kwargs, sys._getframe(1))):
            norm.__dict__[_ORIGIN] = sites
        return norm

    # As the method of a function it is none of those whose signature is taken for the class's.
    of_function: Any = new
    setattr(kind, "__new__", staticmethod(of_function.__call__))  # noqa: B010


class NormCalls(TorchFunctionMode):
    """Notes the calls of norms' functions while it is open."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.seen: list[NormCall] = []
        self._recorder = recorder

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        answer = func(*args, **kwargs)
        if func in FUNCTIONS:
            norm = running_norm(sys._getframe(1))
            sites = self._recorder.here() | (sites_of(norm) if norm is not None else frozenset())
            place = place_of(norm) if norm is not None else "a function's call"
            self.seen.append(NormCall(func, tuple(args), kwargs, answer, sites, place))
        return answer


class _TransformedCalls(TorchFunctionMode):
    """Notes the sites at which the user's code calls norms' functions under a transform."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.sites: set[Site] = set()
        self._recorder = recorder

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        answer = func(*args, **kwargs)
        if func in FUNCTIONS and _is_transformed() and _takes_statistics(func, args, kwargs):
            self.sites |= self._recorder.here()
            if (norm := running_norm(sys._getframe(1))) is not None:
                self.sites |= sites_of(norm)
        return answer


def _takes_statistics(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a norm's function takes its statistics from its input."""
    if function in GROUP_NORMS:
        return True
    name = "training" if function in BATCH_NORMS else "use_input_stats"
    return bool(args[5] if len(args) > 5 else kwargs.get(name, name == "use_input_stats"))


def _runs_as_in_training(norm: nn.Module) -> bool:
    """Whether a norm would do nothing else in train mode."""
    return norm.training or getattr(norm, "running_mean", None) is None


def _is_transformed() -> bool:
    return torch._C._functorch.peek_interpreter_stack() is not None


def running_norm(frame: FrameType | None) -> nn.Module | None:
    """The norm whose forward calls the function that is at hand."""
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module):
            return owner if isinstance(owner, NORMS) else None
        frame = frame.f_back
    return None


@dataclass(frozen=True, slots=True)
class _Span:
    """Where a frame stands: lines from 1, columns from 0 in bytes, None where not known."""

    line: int
    end_line: int
    column: int | None
    end_column: int | None


class _FrameSites:
    """The call sites that frames stand in.

    From Python 3.11 on a frame knows the very expression that it evaluates. Where only its line
    is known, a site counts if it is named as what was called: rather none than a wrong one.
    """

    def __init__(self, sites: Sequence[Site]) -> None:
        self._by_file: dict[str, list[Site]] = {}
        for site in sites:
            self._by_file.setdefault(os.path.realpath(site.path), []).append(site)
        self._files: dict[str, list[Site]] = {}
        self._known: dict[tuple[CodeType, int], tuple[frozenset[Site], bool]] = {}
        self._bytes = functools.cache(_site_bytes)

    def above(self, frame: FrameType | None) -> frozenset[Site]:
        """The sites of this frame and of those that called it."""
        found: frozenset[Site] = frozenset()
        called: frozenset[str] = frozenset()
        while frame is not None:
            if (own := site_of_code(frame.f_code)) is not None:
                found |= {own}
            sites, exact = self._at(frame)
            if sites and not exact:
                sites = frozenset(site for site in sites if _callee(site) in called)
            found |= sites
            called = _called_names(frame)
            frame = frame.f_back
        return found

    def _at(self, frame: FrameType) -> tuple[frozenset[Site], bool]:
        code = frame.f_code
        if not (sites := self._in_file(code.co_filename)):
            return frozenset(), True
        key = code, frame.f_lasti
        if key not in self._known:
            span = _span(frame)
            exact = span.column is not None and span.end_column is not None
            inside = frozenset(site for site in sites if self._holds(site, span))
            self._known[key] = (_innermost(inside) if exact else inside), exact
        return self._known[key]

    def _in_file(self, name: str) -> list[Site]:
        if name not in self._files:
            self._files[name] = self._by_file.get(os.path.realpath(name), [])
        return self._files[name]

    def _holds(self, site: Site, span: _Span) -> bool:
        if not site.line <= span.line <= span.end_line <= site.end_line:
            return False
        if span.column is None or span.end_column is None:
            return True
        start, end = self._bytes(site)
        return (site.line, start) <= (span.line, span.column) and (
            (span.end_line, span.end_column) <= (site.end_line, end)
        )


def _innermost(sites: frozenset[Site]) -> frozenset[Site]:
    """Of sites that hold each other, the one that holds none."""
    if len(sites) < 2:
        return sites
    inner = max(sites, key=lambda s: (s.line, s.column, -s.end_line, -s.end_column))
    return frozenset({inner})


def _span(frame: FrameType) -> _Span:
    code = frame.f_code
    if sys.version_info >= (3, 11):
        place = next(itertools.islice(code.co_positions(), frame.f_lasti // 2, None), None)
        if place is not None and place[0] is not None:
            return _Span(place[0], place[1] or place[0], place[2], place[3])
    line = frame.f_lineno or 0
    return _Span(line, line, None, None)


def _site_bytes(site: Site) -> tuple[int, int]:
    """The columns of a site as Python counts them: from 0, in bytes of UTF-8."""
    first = linecache.getline(site.path, site.line)[: site.column - 1]
    last = linecache.getline(site.path, site.end_line)[: site.end_column - 1]
    return len(first.encode()), len(last.encode())


def _callee(site: Site) -> str:
    """The last name of what the site's expression calls."""
    try:
        call = ast.parse(site.text.strip(), mode="eval").body
    except SyntaxError:
        return ""
    return last_name(call.func if isinstance(call, ast.Call) else call)


def _outside_torch(frame: FrameType | None) -> str:
    """The innermost file and line that are neither torch's nor the verifier's."""
    while frame is not None and frame.f_code.co_filename.startswith((_TORCH, _HERE)):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""


def _called_names(frame: FrameType) -> frozenset[str]:
    """What this frame's caller may have called: a function, or a class by its constructor."""
    code = frame.f_code
    owner = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
    is_constructor = isinstance(owner, nn.Module) and code.co_name in _CONSTRUCTORS
    return frozenset({"__init__", type(owner).__name__} if is_constructor else {code.co_name})
