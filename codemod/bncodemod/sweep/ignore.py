"""Patterns of .gitignore files and of the settings ``exclude`` and ``extend_exclude``.

A walk asks of one entry after the other, the folders above it first, as git does. pathspec answers
another question, whether a path or any folder above it matches: with negated patterns that differs
(`tests/sweep/test_walk.py` compares with git), it costs 30 ms to import, and a regular expression
for each pair of pattern and path. Here a name is first held against what the last parts of the
patterns could match at all, and for nearly every name that settles it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

_SPECIAL = re.compile(r"[*?\[\\]")
_TRAILING_SPACES = re.compile(r"(?<!\\) +$")
_TOKEN = re.compile(
    r"""(?P<above>(?:(?<=/)|^)\*\*+/)       # any folders, also none
    |(?P<below>(?:(?<=/)|^)\*\*+$)
    |(?P<many>\*+)
    |(?P<one>\?)
    |\[(?P<not>[!^]?)(?P<class>\]?(?:\[:\w+:\]|\\.|[^]\\])*)\]
    |\\(?P<escaped>.)
    |(?P<bad>[\[\\])                        # a class or an escape without an end
    |(?P<literal>.)""",
    re.VERBOSE | re.DOTALL,
)
_POSIX = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": " \\t",
    "digit": "0-9",
    "lower": "a-z",
    "punct": re.escape("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
    "space": "\\s",
    "upper": "A-Z",
    "xdigit": "0-9a-fA-F",
}
_CLASS_PART = re.compile(r"\[:(?P<posix>\w+):\]|\\(?P<escaped>.)|(?P<literal>.)", re.DOTALL)
_NEVER = r"(?!)"


class Patterns:
    """Patterns in the syntax of .gitignore, relative to the folder ``base``.

    ``base`` is absolute and ends in a slash.
    """

    def __init__(self, lines: Iterable[str], base: str) -> None:
        self.base = base
        self._lines = [line for line in map(_trimmed, lines) if line and not line.startswith("#")]
        self._compiled: list[_Pattern] | None = None
        names: set[str] = set()
        suffixes: list[str] = []
        others: list[str] = []
        for line in self._lines:
            last = line.rstrip("/").rpartition("/")[2]
            if last == line:
                last = line.removeprefix("!")
            if not _SPECIAL.search(last):
                names.add(last)
            elif last.startswith("*") and not _SPECIAL.search(last[1:]):
                suffixes.append(last[1:])
            else:
                others.append(_translated(last))
        self._names = frozenset(names)
        self._suffixes = tuple(suffixes)
        self._others = re.compile("|".join(others), re.DOTALL) if others else None

    def verdict(self, path: str, name: str, is_directory: bool) -> bool | None:
        """Whether an entry is ignored; None where no pattern speaks of it.

        ``path`` is absolute and below ``base``, ``name`` its last part. Folders above the entry
        are not looked at: the walk has asked for each of them before it entered.
        """
        if (
            name not in self._names
            and not name.endswith(self._suffixes)
            and not (self._others and self._others.fullmatch(name))
        ):
            return None
        if self._compiled is None:
            self._compiled = [_Pattern.parse(line) for line in reversed(self._lines)]
        relative = path[len(self.base) :].replace(os.sep, "/")
        for pattern in self._compiled:
            if pattern.only_folders and not is_directory:
                continue
            if pattern.regex.fullmatch(relative if pattern.anchored else name):
                return not pattern.negated
        return None


@dataclass(frozen=True, slots=True)
class _Pattern:
    regex: re.Pattern[str]
    anchored: bool
    only_folders: bool
    negated: bool

    @classmethod
    def parse(cls, line: str) -> _Pattern:
        body = line.removeprefix("!")
        only_folders = body.endswith("/")
        body = body.removesuffix("/")
        anchored = "/" in body
        regex = re.compile(_translated(body.removeprefix("/")), re.DOTALL)
        return cls(regex, anchored, only_folders, line.startswith("!"))


def _trimmed(line: str) -> str:
    return _TRAILING_SPACES.sub("", line)


def _translated(pattern: str) -> str:
    """A regular expression for all of a path, or of a name where the pattern has no slash."""
    parts = []
    for token in _TOKEN.finditer(pattern):
        kind = token.lastgroup
        if kind == "class":
            parts.append(_class(token["class"], bool(token["not"])))
        elif kind == "bad":
            return _NEVER
        else:
            fixed = {"above": "(?:.*/)?", "below": ".*", "many": "[^/]*", "one": "[^/]"}
            parts.append(fixed.get(kind or "") or re.escape(token["escaped"] or token["literal"]))
    return "".join(parts)


def _class(content: str, negated: bool) -> str:
    parts = []
    for part in _CLASS_PART.finditer(content):
        if part["posix"]:
            if part["posix"] not in _POSIX:
                return _NEVER
            parts.append(_POSIX[part["posix"]])
        elif part["literal"] == "-" and 0 < part.start() < len(content) - 1:
            parts.append("-")
        else:
            parts.append(re.escape(part["escaped"] or part["literal"]))
    # As for git, a class never matches a slash.
    regex = f"(?!/)[{'^' if negated else ''}{''.join(parts)}]"
    try:
        re.compile(regex)
    except re.error:  # a range the wrong way round
        return _NEVER
    return regex


def read_gitignore(folder: str) -> Patterns | None:
    """The .gitignore in ``folder`` (absolute, ends in a slash); None where there is none.

    Raises OSError where it cannot be read.
    """
    try:
        with open(folder + ".gitignore", encoding="utf-8-sig", errors="surrogateescape") as stream:
            return Patterns(stream.read().split("\n"), folder)
    except (FileNotFoundError, IsADirectoryError):
        return None
