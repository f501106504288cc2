"""Values that make norms, marked: what is built through them knows the expression it came from.

A module with value sites is compiled with each of them wrapped, ``norm=X`` becoming
``norm=__bncodemod_site__(3, X)``. The user's code must not be able to tell. A partial stays the
very object that it is: the names of its keywords are strings of our own, which every call that
hands them on keeps, so that the norm that is given one of them knows the site, also where the
partial was taken apart. Of a function there is a copy, known by its code in the frames that run it.
A class becomes a class that passes for it and builds what it builds. The files of the project are
compiled so that ``is``, ``type`` and ``id`` see what stands behind such classes and functions.

Code may also look up what to build by the name of a class: norms that are built where that was
read, in a function that holds the class, are known as the site's.
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
import re
import sys
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import nn

from bncodemod.verify.looking import is_instance
from bncodemod.verify.model import Site, SiteKind

_MARK, _PLAIN = "__bncodemod_site__", "__bncodemod_plain__"
# What in a file may tell a class from one that passes for it.
_TELLING = re.compile(rb"\bis\b(?!\s+(not\s+)?(None|True|False)\b)|\b(type|id)\(")
_TELLERS = ("type", "id")
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
    return vars(value).get(_MARK, value) if is_instance(value, type) else value


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
    value.__setstate__((function, value.args, keywords, value.__dict__))


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
    stand_in = Marked(original.__name__, (original,), {**names, _MARK: original})
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
    """Finds the modules that hold value sites and has them compiled with these marked.

    Those below ``root`` that may tell what is marked are compiled so that they cannot.
    """

    def __init__(self, sites: Sequence[Site], root: str = "") -> None:
        self._sites: dict[str, list[Site]] = {}
        for site in sites:
            if site.kind is SiteKind.VALUE or site.kind in WATCHERS:
                self._sites.setdefault(os.path.realpath(site.path), []).append(site)
        has_values = any(site.kind is SiteKind.VALUE for site in sites)
        self._root = os.path.join(os.path.realpath(root), "") if root and has_values else ""

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
        """The same module, to be compiled with its sites marked; None where it stays as it is."""
        if type(spec.loader) is not importlib.machinery.SourceFileLoader:
            return None
        path = os.path.realpath(spec.origin or "")
        sites = self._sites.get(path, [])
        if not sites and not self._may_tell(spec.name, path):
            return None
        spec.loader = _Loader(spec.loader.name, spec.loader.path, sites)
        return spec

    def _may_tell(self, name: str, path: str) -> bool:
        """Whether a module of the project may tell what is marked from what it stands for."""
        if not self._root or not path.startswith(self._root) or name.split(".")[0] == "torch":
            return False
        with open(path, "rb") as file:
            return _TELLING.search(file.read()) is not None


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
        module.__dict__.update({_MARK: _at_number, _PLAIN: plain})
        try:
            super().exec_module(module)
        except Exception as error:
            module.__dict__.clear()
            module.__dict__.update(before)
            try:
                importlib.machinery.SourceFileLoader(self.name, self.path).exec_module(module)
            except Exception:
                raise error from None


def _called(name: str, *arguments: ast.expr) -> ast.Call:
    """The code that calls one of the names that a module is given, in the place of an argument."""
    call = ast.Call(ast.Name(name, ast.Load()), list(arguments), [])
    for new in (call, call.func, *arguments[:-1]):
        ast.copy_location(new, arguments[-1])
    return call


def _marking(site: Site, node: ast.expr) -> ast.Call:
    """The code that marks the value of an expression as that of a site."""
    return _called(_MARK, ast.Constant(_number(site)), node)


def _plainly(node: ast.expr) -> ast.expr:
    """The code that sees what stands behind the value of an expression."""
    return _called(_PLAIN, node)


class _Marker(ast.NodeTransformer):
    """Wraps the expressions that stand where the sites do, or is called there, and what can tell."""

    def __init__(self, source: str, sites: Sequence[Site]) -> None:
        self._lines = source.split("\n")  # as ast counts: a form feed ends no line
        self._places = {
            (site.line, site.column, site.end_line, site.end_column): site for site in sites
        }

    def visit(self, node: ast.AST) -> ast.AST:
        node = self.generic_visit(node)
        _see_plainly(node)
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


def _see_plainly(node: ast.AST) -> None:
    """Have what can tell a marked class from its original be given the original."""
    if isinstance(node, ast.Compare) and any(isinstance(o, (ast.Is, ast.IsNot)) for o in node.ops):
        if any(isinstance(each, ast.Constant) for each in (node.left, *node.comparators)):
            return  # None, and the like
        node.left = _plainly(node.left)
        node.comparators = [_plainly(each) for each in node.comparators]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id in _TELLERS and len(node.args) == 1 and not node.keywords:
            if not isinstance(node.args[0], ast.Starred):
                node.args = [_plainly(node.args[0])]
