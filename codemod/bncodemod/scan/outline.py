"""What a module binds and what it reads, by a look at its text: no tree is built.

Most files that a hook is given have nothing to do with norms; this is enough to find that out. It
may see more than is there (an import in a string), never less, but for code in strings.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

_NAME = r"[^\W\d]\w*"
_DOTTED = rf"{_NAME}(?:[ \t]*\.[ \t]*{_NAME})*"
_START = r"(?:^|[;:])[ \t]*"
_CONTINUED = re.compile(r"\\\r?\n")
_COMMENT = re.compile(r"#[^\n]*")
_FROM = re.compile(
    rf"{_START}from[ \t]*([.\w \t]+?)[ \t]*\bimport\b[ \t]*(\([^)]*\)|\*|[^\n#;]*)", re.MULTILINE
)
_IMPORT = re.compile(rf"{_START}import[ \t]+([^\n#;]*)", re.MULTILINE)
_ITEM = re.compile(rf"({_DOTTED}|\*)(?:\s+as\s+({_NAME}))?")
_CLASS = re.compile(rf"^[ \t]*class[ \t]+({_NAME})\s*(?:\[[^\]]*\])?\s*\(([^)]*)\)", re.MULTILINE)
_DEFINED = re.compile(rf"^[ \t]*class[ \t]+({_NAME})", re.MULTILINE)
_ASSIGNED = re.compile(
    rf"^[ \t]*({_NAME})[ \t]*(?::[^=\n]*)?=[ \t]*({_DOTTED})[ \t]*(?:[#;]|$)", re.MULTILINE
)
_BASE = re.compile(_DOTTED)
_CALLED = re.compile(r"""(?:import_module|__import__)\(\s*['"]([\w.]+)['"]\s*\)""")
_SPACE = re.compile(r"[ \t]+")


@dataclass(frozen=True, slots=True)
class Imported:
    """``from module import name``; ``import module`` where ``name`` is empty.

    ``level`` counts the leading dots; ``name`` is ``*`` for a star import.
    """

    module: str
    level: int
    name: str


class Outline:
    """The imports of one file, and the names that it binds to what it reads elsewhere."""

    def __init__(self, data: bytes) -> None:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text = data.decode("latin-1")
        if not text.isascii():
            text = unicodedata.normalize("NFKC", text)  # as Python does with every name
        self._text = _CONTINUED.sub(" ", text)

    @cached_property
    def imports(self) -> list[tuple[str, Imported]]:
        """Every import with the name that it binds: the first part of ``import a.b``."""
        found = []
        text = _COMMENT.sub("", self._text)
        for place in _FROM.finditer(text):
            module = _SPACE.sub("", place[1])
            level = len(module) - len(module.lstrip("."))
            for name, local in _items(place[2]):
                found.append((local or name, Imported(module[level:], level, name)))
        for place in _IMPORT.finditer(text):
            for name, local in _items(place[1]):
                module = name if local else name.partition(".")[0]
                found.append((local or module, Imported(module, 0, "")))
        return found

    @cached_property
    def stars(self) -> list[Imported]:
        """The star imports."""
        return [item for _, item in self.imports if item.name == "*"]

    @cached_property
    def by_local(self) -> dict[str, list[Imported]]:
        """The other imports, by the names that they bind."""
        found: dict[str, list[Imported]] = defaultdict(list)
        for local, item in self.imports:
            if item.name != "*":
                found[local].append(item)
        return found

    @cached_property
    def called(self) -> list[Imported]:
        """The modules that ``import_module("a.b")`` and its like give."""
        return [Imported(place[1], 0, "*") for place in _CALLED.finditer(self._text)]

    @cached_property
    def classes(self) -> frozenset[str]:
        """The names of its classes."""
        return frozenset(_DEFINED.findall(self._text))

    @property
    def names(self) -> set[str]:
        """All names that it binds to what it reads elsewhere, stars aside."""
        return {*self.by_local, *self.derived}

    @cached_property
    def derived(self) -> dict[str, list[tuple[str, ...]]]:
        """The dotted names that a class derives from, or a variable is bound to, in parts."""
        found: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        for place in _CLASS.finditer(self._text):
            found[place[1]] += map(_parts, _BASE.findall(place[2]))
        for place in _ASSIGNED.finditer(self._text):
            found[place[1]].append(_parts(place[2]))
        return found

    def chains(self, name: str) -> Iterator[tuple[str, ...]]:
        """What is read from a name, in parts: ``b``, ``c`` of ``a.b.c``; each once."""
        pattern = re.compile(rf"(?<![.\w]){name}((?:\s*\.\s*{_NAME})+)")
        yield from dict.fromkeys(_parts(place[1])[1:] for place in pattern.finditer(self._text))

    def is_looked_into(self, name: str) -> bool:
        """Whether something is looked up in a module by a name that may be computed."""
        return re.search(rf"\b(?:getattr|vars)\(\s*{name}\b", self._text) is not None


def _items(written: str) -> Iterator[tuple[str, str]]:
    """The names in an import and what they are renamed to."""
    for name, local in _ITEM.findall(written):
        yield _SPACE.sub("", name), local


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in dotted.split("."))
