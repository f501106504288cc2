"""Values that make norms, marked: what is built through them knows the expression it came from.

A module with value sites is compiled with each of them wrapped, ``norm=X`` becoming
``norm=__bncodemod_site__(3, X)``. A class becomes a class that passes for it, a partial a partial
and a function a function; the norms that they build are those of the unchanged code. Code may also
take a partial apart, and hand its arguments on: its numbers are signed, and the norm that is given
one of them knows the site too. And it may look up what to build by the name of a class: norms that
are built where that was read, in a function that holds the class, are known as the site's.
"""

from __future__ import annotations

import ast
import copyreg
import functools
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import os
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import nn

from bncodemod.verify.looking import is_instance
from bncodemod.verify.model import Site, SiteKind

_MARK = "__bncodemod_site__"
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
    try:
        yield
    finally:
        _looked_up.clear()


def _note_lookup(site: Site, value: type, frame: types.FrameType | None) -> None:
    holders = 0
    while frame is not None and holders < _HOLDERS:
        if any(_holds(each, value) for each in frame.f_locals.values()):
            _looked_up.append((frame, site))
            holders += 1
        frame = frame.f_back


def sites_on(trace: types.TracebackType | None) -> frozenset[Site]:
    """The value sites that were being called where an error was raised."""
    found = set()
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_code.co_filename == __file__:
            site, owner = frame.f_locals.get("site"), frame.f_locals.get("self")
            if isinstance(site, Site):
                found.add(site)
            elif isinstance(owner, _MarkedPartial):
                found.add(_sites[owner.__dict__[_MARK]])
        trace = trace.tb_next
    return frozenset(found)


def _holds(each: Any, value: type) -> bool:
    return each is value or (is_instance(each, functools.partial) and each.func is value)


def marked(site: Site, value: Any) -> Any:
    """``value``, which builds norms that are known as those of ``site``."""
    if isinstance(value, functools.partial):
        return _marked_partial(site, value)
    if inspect.isclass(value):
        return _marked_class(site, value) if issubclass(value, nn.Module) else value
    if not callable(value) or isinstance(value, nn.Module):
        return value

    @functools.wraps(value)
    def function(*args: Any, **kwargs: Any) -> Any:
        with _calling(site):
            return value(*args, **kwargs)

    return function


class _MarkedPartial(functools.partial):  # type: ignore[type-arg]
    """A partial that says which site it stands at; it pickles and copies as any other."""

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        with _calling(_sites[self.__dict__[_MARK]]):
            return super().__call__(*args, **kwargs)


def _marked_partial(site: Site, value: functools.partial[Any]) -> _MarkedPartial:
    keywords = {name: signed(site, each) for name, each in value.keywords.items()}
    bare = not signing_sites(keywords.values())
    function = marked(site, value.func) if bare else value.func
    result = _MarkedPartial(function, *value.args, **keywords)
    result.__dict__.update(value.__dict__)
    result.__dict__[_MARK] = _number(site)
    return result


class _Signed:
    """A number that knows the site it comes from; it is equal to ``plain``."""

    plain: Any
    site: int

    def __repr__(self) -> str:
        return repr(self.plain)


class _SignedInt(_Signed, int):
    pass


class _SignedFloat(_Signed, float):
    pass


def signed(site: Site, value: Any) -> Any:
    """``value``, a bool, int or float, with a mark; nothing else can bear one."""
    kind = {bool: _SignedInt, int: _SignedInt, float: _SignedFloat}.get(type(value))
    if kind is None:
        return value
    result = kind(value)
    result.plain, result.site = value, _number(site)
    return result


def unsigned(value: Any) -> Any:
    """The value without its mark."""
    return value.plain if isinstance(value, _Signed) else value


def signing_sites(values: Iterable[Any]) -> frozenset[Site]:
    """The sites that some of these values come from."""
    return frozenset(_sites[value.site] for value in values if isinstance(value, _Signed))


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
    stand_in = Marked(original.__name__, (original,), names)
    copyreg.pickle(
        Marked, lambda cls: (_itself, (original,)) if cls is stand_in else cls.__qualname__
    )
    return stand_in


def _itself(value: Any) -> Any:
    return value


def _number(site: Site) -> int:
    if site not in _numbers:
        _numbers[site] = len(_sites)
        _sites.append(site)
    return _numbers[site]


def _at_number(number: int, value: Any) -> Any:
    site = _sites[number]
    return WATCHERS.get(site.kind, marked)(site, value)


class Finder(importlib.abc.MetaPathFinder):
    """Finds the modules that hold value sites and has them compiled with these marked."""

    def __init__(self, sites: Sequence[Site]) -> None:
        self._sites: dict[str, list[Site]] = {}
        for site in sites:
            if site.kind is SiteKind.VALUE or site.kind in WATCHERS:
                self._sites.setdefault(os.path.realpath(site.path), []).append(site)

    def __enter__(self) -> Finder:
        sys.meta_path.insert(0, self)
        return self

    def __exit__(self, *exception: object) -> None:
        sys.meta_path.remove(self)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        return self.instrumented(spec) if spec is not None else None

    def instrumented(
        self, spec: importlib.machinery.ModuleSpec
    ) -> importlib.machinery.ModuleSpec | None:
        """The same module, to be compiled with its sites marked; None where it has none."""
        sites = self._sites.get(os.path.realpath(spec.origin or ""))
        if not sites or type(spec.loader) is not importlib.machinery.SourceFileLoader:
            return None
        spec.loader = _Loader(spec.loader.name, spec.loader.path, sites)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, fullname: str, path: str, sites: Sequence[Site]) -> None:
        super().__init__(fullname, path)
        self._sites = sites

    def get_code(self, fullname: str) -> types.CodeType:
        source = self.get_data(self.path)
        tree = ast.parse(source, self.path)
        _Marker(importlib.util.decode_source(source), self._sites).visit(tree)
        code: types.CodeType = compile(tree, self.path, "exec", dont_inherit=True)
        return code

    def exec_module(self, module: types.ModuleType) -> None:
        """Run the marked code; the unmarked one, where the marks are what makes it fail."""
        before = dict(module.__dict__)
        module.__dict__[_MARK] = _at_number
        try:
            super().exec_module(module)
        except Exception as error:
            module.__dict__.clear()
            module.__dict__.update(before)
            try:
                importlib.machinery.SourceFileLoader(self.name, self.path).exec_module(module)
            except Exception:
                raise error from None


def _marking(site: Site, node: ast.expr) -> ast.Call:
    """The code that marks the value of an expression as that of a site."""
    call = ast.Call(ast.Name(_MARK, ast.Load()), [ast.Constant(_number(site)), node], [])
    for new in (call, call.func, call.args[0]):
        ast.copy_location(new, node)
    return call


class _Marker(ast.NodeTransformer):
    """Wraps the expressions that stand where the sites do, or what is called there."""

    def __init__(self, source: str, sites: Sequence[Site]) -> None:
        self._lines = source.split("\n")  # as ast counts: a form feed ends no line
        self._places = {
            (site.line, site.column, site.end_line, site.end_column): site for site in sites
        }

    def visit(self, node: ast.AST) -> ast.AST:
        node = self.generic_visit(node)
        if not isinstance(node, (ast.expr, ast.With)):
            return node
        if isinstance(getattr(node, "ctx", None), ast.Store):
            return node
        site = self._places.pop(self._place(node), None)
        if site is None:
            return node
        calls = [item.context_expr for item in node.items] if isinstance(node, ast.With) else [node]
        if site.kind not in WATCHERS:
            return _marking(site, calls[0])
        for call in calls:
            if isinstance(call, ast.Call):
                call.func = _marking(site, call.func)
        return node

    def _place(self, node: ast.expr | ast.With) -> tuple[int, int, int, int]:
        end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or 0
        start = self._column(node.lineno, node.col_offset)
        return node.lineno, start, end_line, self._column(end_line, end_column)

    def _column(self, line: int, offset: int) -> int:
        """The column, from 1 and in characters, of a byte offset."""
        text = self._lines[line - 1] if line <= len(self._lines) else ""
        return offset + 1 if text.isascii() else len(text.encode()[:offset].decode()) + 1
