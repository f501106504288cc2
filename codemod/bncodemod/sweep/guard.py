"""Which files could bring down the process that handles them.

LibCST's parser and tree recurse in native code: a few thousand nested parentheses overflow the
stack, and no ``except`` holds that. What is said here is cheap and errs on the side of caution: a
file that looks dangerous is handled in a process of its own, which costs milliseconds.
"""

from __future__ import annotations

import re

_BRACKET = re.compile(rb"[()\[\]{}]")
_OTHERS = bytes(set(range(256)) - set(b"()[]{}"))
_CONTINUED = re.compile(rb"\n[ \t]*(?:[-+*/%|&^.]|and |or |if |else )")
_CONTINUES = (b"+\n", b"-\n", b"*\n", b"/\n", b"%\n", b"|\n", b"&\n", b"^\n", b" and\n", b" or\n")

MAX_BYTES = 256 * 1024
MAX_DEPTH = 100
MAX_CHAIN = 300
LONG_LINE = 4000

_LONG_LINE = re.compile(rb"[^\n]{%d}" % LONG_LINE)


def is_risky(data: bytes) -> bool:
    """Whether a file is better not handled in the process that drives the sweep."""
    return (
        len(data) > MAX_BYTES
        or data.count(b"elif") > MAX_CHAIN
        or _LONG_LINE.search(data) is not None
        or _is_deep(data)
        # A chain of operators or calls nests as deeply as it is long, without a bracket.
        or sum(map(data.count, _CONTINUES)) > MAX_CHAIN
        or sum(1 for _ in _CONTINUED.finditer(data)) > MAX_CHAIN
    )


def _is_deep(data: bytes) -> bool:
    """Whether brackets nest deeper than MAX_DEPTH; those in strings and comments count too."""
    brackets = data.translate(None, _OTHERS)
    for _ in range(MAX_DEPTH):
        # Each round takes the innermost pairs away.
        fewer = brackets.replace(b"()", b"").replace(b"[]", b"").replace(b"{}", b"")
        if len(fewer) == len(brackets):
            return len(fewer) > MAX_DEPTH and deep_line(data) > 0
        brackets = fewer
    return bool(brackets)


def deep_line(data: bytes) -> int:
    """The line whose brackets nest deeper than parsers can follow; 0 where there is none."""
    depth = 0
    for match in _BRACKET.finditer(data):
        depth = depth + 1 if match[0] in b"([{" else max(depth - 1, 0)
        if depth > MAX_DEPTH:
            return data.count(b"\n", 0, match.start()) + 1
    return 0


def culprit_line(data: bytes) -> int:
    """The line that parsers most likely gave up on: deep brackets, a very long line, else 0."""
    if line := deep_line(data):
        return line
    longest = max(data.split(b"\n"), key=len)
    return data.count(b"\n", 0, data.index(longest)) + 1 if len(longest) >= LONG_LINE else 0
