"""Other arguments after a failure: what the message, the failing line and the source say."""

from __future__ import annotations

import ast
import inspect
import re
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import nn

from bncodemod.verify.arguments import Fresh
from bncodemod.verify.deduce import (
    Deduction,
    Settings,
    names_weights,
    parameters,
    takes_any_keyword,
)
from bncodemod.verify.looking import attribute, function_below
from bncodemod.verify.promises import builds_module
from bncodemod.verify.source_trees import tree_of

Values = dict[str, Any]

_MISSING = re.compile(r"missing \d+ required (?:positional|keyword-only) arguments?: (.*)")
_UNWANTED = re.compile(r"(?:unexpected keyword argument|multiple values for.*argument) '(\w+)'")
_UNPACKED = re.compile(r"expected (?:at least )?(\d+)(?:, got \d+)?\)")
_CHOICES = re.compile(
    r"(?is)\b(?:one of|among|choose from|options|choices|available|supported|expected|allowed)\b"
    r"[^:'\"(\[{]*[:(\[{]?(.*)"
)
_MOST_CHOICES = 3
_NUMBERS = (1, 2, 4, 8, 16, 32, 64, 128, 3)


def repairs(
    error: BaseException, target: Callable[..., Any], values: Values, deduction: Deduction
) -> Iterator[Values]:
    """Keywords to try after ``values`` ended in ``error``, the likeliest first."""
    message = str(error)
    if isinstance(error, TypeError):
        yield from _renamed(message, target, values, deduction)
    scene = _Scene(error, target)
    for name, others in scene.compared(values):
        for other in others:
            yield {**values, name: other}
    defaults = {
        each.name: each.default for each in parameters(target) if each.default is not each.empty
    }
    known = defaults | values
    for name in _of_type_first(scene.suspects(values, defaults), known, message):
        if names_weights(name):
            continue
        current = known.get(name)
        for other in (*scene.keys(name), *_others(name, current, error, target, deduction)):
            if type(other) is not type(current) or other != current:
                yield {**values, name: other}


def _of_type_first(names: list[str], values: Values, message: str) -> list[str]:
    """Those first whose value is what the message speaks of: ``'float' object is not ...``."""
    found = re.search(r"'(\w+)' object", message)
    kind = found[1] if found else ""
    return sorted(names, key=lambda name: type(values.get(name)).__name__ != kind)


def _renamed(
    message: str, target: Callable[..., Any], values: Values, deduction: Deduction
) -> Iterator[Values]:
    """Names that the call lacks, or has too many of."""
    if found := _MISSING.search(message):
        names = re.findall(r"'(\w+)'", found[1])
        known = {each.name for each in parameters(target)}
        if takes_any_keyword(target) or known.issuperset(names):
            added = {name: deduction.named(name, target) for name in names if name not in values}
            if added:
                yield {**values, **added}
    if (found := _UNWANTED.search(message)) and found[1] in values:
        yield {name: value for name, value in values.items() if name != found[1]}
    elif found:  # the target's own default, handed on to what does not take it
        for each in parameters(target):
            if each.name == found[1] and type(each.default) is int:
                yield from ({**values, each.name: number} for number in (2, 4))


def _others(
    name: str,
    current: Any,
    error: BaseException,
    target: Callable[..., Any],
    deduction: Deduction,
) -> Iterator[Any]:
    """Other values for a parameter that had ``current`` when the call failed."""
    message = str(error)
    number = isinstance(current, int) and not isinstance(current, bool)
    if isinstance(error, TypeError | IndexError | ValueError):
        yield from _containers(current, message)
    if _wants_settings(current, error):
        yield Fresh("Settings()", Settings)
    if "not callable" in message or "must be a class" in message:
        yield from (nn.ReLU, nn.Identity)
    if isinstance(current, str):
        yield from _listed(message, current)
    if current is None or (isinstance(current, str) and not current):
        if (named := deduction.named(name, target)) is not None:
            yield named
    if number:
        yield from _numbers(current, message)
    elif isinstance(current, bool):
        yield not current
    elif isinstance(current, float) and current.is_integer():
        yield int(current)
    elif isinstance(current, (list, tuple)) and current:
        if all(isinstance(item, int) for item in current):
            yield current[0]


def _listed(message: str, current: str) -> list[str]:
    """What a message says may stand in the place of a name: ``must be one of: small, large``."""
    said = _CHOICES.search(message)
    if said is None:
        return []
    quoted = re.findall(r"""['"]([^'"]+)['"]""", said[1])
    named = quoted or re.split(r",\s*(?:or\s+)?|\s+or\s+|\s+", said[1].strip(" .()[]{}"))
    return [name for name in named if name and name != current][:_MOST_CHOICES]


def _wants_settings(current: Any, error: BaseException) -> bool:
    """Whether a dict, a namespace or a number was asked for an entry that it lacks."""
    if isinstance(error, KeyError):
        return isinstance(current, dict) and not current
    missing = re.search(r"'([\w.]+)' object has no attribute", str(error))
    if not isinstance(error, AttributeError) or missing is None:
        return False
    is_plain = isinstance(current, Fresh) and current.text.endswith("()")
    holder = current.make() if is_plain else current
    return type(holder).__name__ == missing[1].rpartition(".")[2]


def _containers(current: Any, message: str) -> Iterator[Any]:
    """Lists for numbers, and longer or shorter lists."""
    if re.search(r"not (iterable|subscriptable)|has no len|non-iterable|can only concat", message):
        if not isinstance(current, (list, tuple)):
            yield from ([current] * 4, (current, current), [current] * 3)
    if (found := _UNPACKED.search(message)) and 0 < int(found[1]) <= 8:
        item = current[0] if isinstance(current, (list, tuple)) and current else current
        yield [item] * int(found[1])
    if isinstance(current, (list, tuple)) and current and "out of range" in message:
        yield type(current)([current[0]] * (len(current) + 2))


def _numbers(current: int, message: str) -> Iterator[int]:
    """Numbers of the message that stand beside the current one, then the usual ones."""
    mentioned = [int(text) for text in re.findall(r"(?<![\w.])\d{1,5}(?![\w.])", message)]
    if current in mentioned or not mentioned:
        yield from (number for number in mentioned if 0 < number != current)
    for one in mentioned:
        for other in mentioned:
            if 0 < one < other and other % one == 0:
                factor = other // one
                yield from (current * factor, *((current // factor,) * (current % factor == 0)))
    yield from (number for number in _NUMBERS if number != current)


class _Scene:
    """Where the error was raised, as far as the target's own source goes."""

    def __init__(self, error: BaseException, target: Callable[..., Any]) -> None:
        self._error = error
        self._function = _function(target)
        self._tree = tree_of(self._function)
        self._frames = list(_frames(error, self._function))

    def suspects(self, values: Values, defaults: Values) -> list[str]:
        """The parameters that the failing line names, innermost first; else all that are given."""
        names = [name for frame, line in reversed(self._frames) for name in self._names(line)]
        found = [name for name in dict.fromkeys(names) if name in values or name in defaults]
        return found or list(values)

    def compared(self, values: Values) -> Iterator[tuple[str, list[Any]]]:
        """Constants that the source compares a parameter with: ``if mode == "zero"``."""
        constants: dict[str, list[Any]] = {}
        for node in ast.walk(self._tree) if self._tree else ():
            if isinstance(node, ast.Compare):
                sides = [node.left, *node.comparators]
                names = [name for side in sides if (name := _plain_name(side)) in values]
                yield from self._lengths(sides, values)
                for name in names:
                    found = constants.setdefault(str(name), [])
                    found += [each for side in sides for each in _constants(side)]
        for name, found in constants.items():
            others = [
                each for each in dict.fromkeys(found) if each != values[name] and each is not None
            ]
            if isinstance(values[name], str) or self._raised(name):
                yield name, others

    @staticmethod
    def _lengths(sides: list[ast.expr], values: Values) -> Iterator[tuple[str, list[Any]]]:
        """Lists of the length that the source asks for: ``if len(repeats) != 3``."""
        lengths = [each for side in sides for each in _constants(side) if type(each) is int]
        for side in sides:
            if isinstance(side, ast.Call) and _plain_name(side.func) == "len" and side.args:
                name = _plain_name(side.args[0])
                current = values.get(str(name))
                if name in values and lengths:
                    item = current[0] if isinstance(current, (list, tuple)) and current else current
                    others = [[item] * length for length in lengths if 0 < length <= 16]
                    yield name, [other for other in others if other != current]

    def keys(self, name: str) -> list[Any]:
        """The keys of the mapping in which the failing line looks ``name`` up."""
        for frame, line in reversed(self._frames):
            for node in ast.walk(self._tree) if self._tree else ():
                if isinstance(node, ast.Subscript) and getattr(node, "lineno", 0) == line:
                    if _plain_name(node.slice) == name:
                        holder = _value(node.value, frame)
                        if isinstance(holder, Mapping):
                            return _likely_keys(holder)
        return []

    def _raised(self, name: str) -> bool:
        """Whether the failing line of the target names the parameter."""
        return any(name in self._names(line) for _, line in self._frames)

    def _names(self, line: int) -> list[str]:
        """The names in the innermost statement at a line."""
        best: ast.stmt | None = None
        for node in ast.walk(self._tree) if self._tree else ():
            if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or line):
                if best is None or node.lineno >= best.lineno:
                    best = node
        if best is None:
            return []
        parts: list[ast.AST] = [best]
        if isinstance(best, ast.If | ast.While):
            parts = [best.test]
        elif isinstance(best, ast.For):
            parts = [best.iter]
        nodes = [node for part in parts for node in ast.walk(part)]
        return [node.id for node in nodes if isinstance(node, ast.Name)] + [
            node.attr for node in nodes if isinstance(node, ast.Attribute)
        ]


def _function(target: Callable[..., Any]) -> types.FunctionType | None:
    return function_below(target.__init__ if inspect.isclass(target) else target)


def _frames(
    error: BaseException, function: types.FunctionType | None
) -> Iterator[tuple[types.FrameType, int]]:
    """The frames of the target's own code, with the line at which each stands."""
    trace = error.__traceback__
    while trace is not None:
        if function is not None and trace.tb_frame.f_code is function.__code__:
            yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


def _plain_name(node: ast.expr) -> str | None:
    """``x``, or the ``x`` of ``x.lower()``."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return _plain_name(node.func.value)
    return node.id if isinstance(node, ast.Name) else None


def _constants(node: ast.expr) -> list[Any]:
    if isinstance(node, ast.Constant):
        return [node.value]
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return [each.value for each in node.elts if isinstance(each, ast.Constant)]
    return []


def _value(node: ast.expr, frame: types.FrameType) -> Any:
    if isinstance(node, ast.Name):
        return frame.f_locals.get(node.id, frame.f_globals.get(node.id))
    if isinstance(node, ast.Attribute):
        return attribute(_value(node.value, frame), node.attr)
    return None


def _likely_keys(holder: Mapping[Any, Any]) -> list[Any]:
    """Some keys of a mapping; of a module's names those that build modules."""
    keys = [key for key, value in holder.items() if callable(value) and builds_module(value)]
    return (keys or [key for key in holder if not str(key).startswith("__")])[:4]
