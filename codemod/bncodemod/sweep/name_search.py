"""The files that may use norms of others by their names, found in their bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bncodemod.sweep.worker import read

_LAST_NAME = re.compile(rb"\w+$")
_DOTTED = re.compile(rb"\s*(?:\w+\s*\.\s*)*(\w+)\s*[,)]")
_MAX_NAME = 100


@dataclass(frozen=True, slots=True)
class Wanted:
    """The names by which other files may use norms, each with what its modules are called.

    A file that uses one spells both; but what lies in the same package may take a name from its
    ``__init__.py`` by dots alone. Of the ``modules``, any may be given another name, or be looked
    into by a computed one.
    """

    names: dict[bytes, tuple[bytes, ...]]
    of_packages: frozenset[bytes]
    modules: frozenset[bytes]

    def is_used_in(self, data: bytes) -> bool:
        """Whether a file may use one of the names."""
        return any(name in data and self._is_taken(name, data) for name in self.names) or any(
            module in self.modules and _is_imported(module, data) for module in _whole_modules(data)
        )

    def _is_taken(self, name: bytes, data: bytes) -> bool:
        from_package = name in self.of_packages and b"from ." in data
        return (from_package or any(module in data for module in self.names[name])) and (
            re.search(rb"\b%s\b" % re.escape(name), data) is not None
        )


def _is_imported(module: bytes, data: bytes) -> bool:
    pattern = rb"^\s*(?:from\b[^\n]*\bimport\s*\([^)]*|(?:from|import)\b[^\n]*)\b%s\b"
    return re.search(pattern % re.escape(module), data, re.MULTILINE) is not None


def _whole_modules(data: bytes) -> Iterator[bytes]:
    """The last names of what gets another name, and of what is looked into by a name."""
    place = data.find(b" as ")
    while place >= 0:
        found = _LAST_NAME.search(data[max(0, place - _MAX_NAME) : place])
        if found is not None:
            yield found[0]
        place = data.find(b" as ", place + 1)
    for function in (b"getattr(", b"vars("):
        place = data.find(function)
        while place >= 0:
            found = _DOTTED.match(data, place + len(function))
            if found is not None:
                yield found[1]
            place = data.find(function, place + 1)


def using(paths: Sequence[str], *, wanted: Wanted) -> list[str]:
    """The files that may use one of the names."""
    found = []
    for path in paths:
        data = read(path)
        if isinstance(data, bytes) and wanted.is_used_in(data):
            found.append(path)
    return found


def matching(paths: Sequence[str], *, pattern: re.Pattern[bytes]) -> list[str]:
    """The files in which a pattern is found."""
    found = []
    for path in paths:
        data = read(path)
        if isinstance(data, bytes) and pattern.search(data):
            found.append(path)
    return found
