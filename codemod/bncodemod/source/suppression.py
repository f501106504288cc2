"""Comments that switch rules off: ``# bncodemod: ignore``, ``ignore[BN101]``, ``skip-file``."""

from __future__ import annotations

import io
import re
import tokenize
from dataclasses import dataclass, field

from bncodemod.source.text import SourceText

_MARK = "bncodemod:"
_IGNORE = re.compile(r"#\s*bncodemod:\s*ignore(?![\w-])\s*(?:\[([^\]]*)\])?")
_SKIP = re.compile(r"#\s*bncodemod:\s*skip-file(?![\w-])")


@dataclass(slots=True)
class Ignore:
    """One comment; ``codes`` is None where it names none. ``column`` counts from 1."""

    line: int
    column: int
    text: str
    codes: tuple[str, ...] | None
    used: bool = False

    def covers(self, code: str) -> bool:
        """Whether the comment names a code, or a prefix of it, or none at all."""
        return self.codes is None or any(code.startswith(prefix) for prefix in self.codes)


@dataclass(slots=True)
class Suppressions:
    """The suppression comments of a file."""

    skip_file: bool = False
    ignores: dict[int, Ignore] = field(default_factory=dict)

    @classmethod
    def of(cls, source: SourceText) -> Suppressions:
        """Read the comments; a text in which none can stand is not tokenized."""
        found = cls()
        if _MARK in source.text:
            for line, column, comment in _comments(source.text):
                found._add(line, column, comment)
        return found

    def suppress(self, code: str, first_line: int, last_line: int) -> bool:
        """Whether a comment on one of these lines switches a rule off; it then counts as used."""
        found = False
        for line in range(first_line, last_line + 1):
            ignore = self.ignores.get(line)
            if ignore is not None and ignore.covers(code):
                ignore.used = found = True
        return found

    def _add(self, line: int, column: int, comment: str) -> None:
        if _SKIP.search(comment):
            self.skip_file = True
        match = _IGNORE.search(comment)
        if match:
            codes = None
            if match[1] is not None:
                codes = tuple(c.strip().upper() for c in match[1].split(",") if c.strip())
            self.ignores[line] = Ignore(line, column + match.start() + 1, match[0], codes)


def _comments(text: str) -> list[tuple[int, int, str]]:
    found = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT and _MARK in token.string:
                found.append((*token.start, token.string))
    except (tokenize.TokenError, IndentationError, SyntaxError):
        pass  # the parser accepted what the tokenizer did not: what was found so far counts
    return found
