"""Unified diffs of bytes that ``git apply`` and ``patch -p1`` take.

Not difflib alone: on a generated file of 10 MB, whose lines repeat, it takes minutes. Edits are
local, so both files are walked side by side to where they meet again after a change, which is
linear; what lies between is small, and difflib's to compare.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from difflib import SequenceMatcher
from io import BytesIO

from bncodemod.model import FileResult

CONTEXT = 3

# How far ahead to look, in lines of both files together, for where they meet again.
_HORIZON = 200

# Lines before times lines after a change that difflib may compare.
_SMALL = 100_000

# Lines of before and after that differ: before[i1:i2] became after[j1:j2].
_Change = tuple[int, int, int, int]


def unified(result: FileResult) -> Iterator[bytes]:
    """The lines of a file's diff, each with its own line ending; none where no byte changes.

    The bytes are the file's: its encoding and line endings stay, CRLF with them.
    """
    if result.after is None or result.after == result.before:
        return
    # As git and patch do, only at a line feed: a form feed or a lone CR ends no line of a patch.
    before, after = BytesIO(result.before).readlines(), BytesIO(result.after).readlines()
    yield _header(b"---", "a", result.path)
    yield _header(b"+++", "b", result.path)
    hunk: list[_Change] = []
    for change in _changes(before, after):
        if hunk and change[0] - hunk[-1][1] > 2 * CONTEXT:
            yield from _hunk(hunk, before, after)
            hunk = []
        hunk.append(change)
    yield from _hunk(hunk, before, after)


def _changes(before: list[bytes], after: list[bytes]) -> Iterator[_Change]:
    i = j = 0
    while i < len(before) or j < len(after):
        if before[i : i + 1] == after[j : j + 1]:
            i, j = i + 1, j + 1
            continue
        i1, j1 = i, j
        i, j = _meet(before, after, i, j)
        if (i - i1) * (j - j1) > _SMALL:
            yield i1, i, j1, j
            continue
        compared = SequenceMatcher(None, before[i1:i], after[j1:j], autojunk=False)
        for tag, a1, a2, b1, b2 in compared.get_opcodes():
            if tag != "equal":
                yield i1 + a1, i1 + a2, j1 + b1, j1 + b2


def _meet(before: list[bytes], after: list[bytes], i: int, j: int) -> tuple[int, int]:
    """The nearest places at or after ``i`` and ``j`` from which both files are the same."""
    for distance in range(1, _HORIZON):
        for skipped in range(distance + 1):
            x, y = i + skipped, j + distance - skipped
            if _alike(before, after, x, y, in_place=2 * skipped == distance):
                return min(x, len(before)), min(y, len(after))
    # A long run of lines that all changed in place.
    for skipped in range(_HORIZON // 2, min(len(before) - i, len(after) - j)):
        if _alike(before, after, i + skipped, j + skipped, in_place=True):
            return i + skipped, j + skipped
    return len(before), len(after)


def _alike(before: list[bytes], after: list[bytes], x: int, y: int, *, in_place: bool) -> bool:
    """Whether both files go on with the same two lines, or one where lines only changed."""
    if in_place and x < len(before) and before[x].strip():
        return before[x : x + 1] == after[y : y + 1]
    return before[x : x + 2] == after[y : y + 2]


def _hunk(changes: list[_Change], before: list[bytes], after: list[bytes]) -> Iterator[bytes]:
    first, last = changes[0], changes[-1]
    lead = min(first[0], CONTEXT)
    trail = min(len(before) - last[1], CONTEXT)
    ranges = first[0] - lead, last[1] + trail, first[2] - lead, last[3] + trail
    yield b"@@ -%s +%s @@\n" % (_range(*ranges[:2]), _range(*ranges[2:]))
    position = ranges[0]
    for i1, i2, j1, j2 in changes:
        yield from _marked(b" ", before[position:i1])
        yield from _marked(b"-", before[i1:i2])
        yield from _marked(b"+", after[j1:j2])
        position = i2
    yield from _marked(b" ", before[position : ranges[1]])


def _range(start: int, stop: int) -> bytes:
    length = stop - start
    # An empty range is named by the line before it.
    return b"%d" % (start + 1) if length == 1 else b"%d,%d" % (start + bool(length), length)


def _marked(marker: bytes, lines: list[bytes]) -> Iterator[bytes]:
    for line in lines:
        yield marker + line
        if not line.endswith(b"\n"):
            yield b"\n\\ No newline at end of file\n"


def _header(marker: bytes, side: str, path: str) -> bytes:
    name = os.fsencode(f"{side}/{_named(path)}")
    if any(byte < 0x20 or byte in b'"\\\x7f' for byte in name):
        name = b'"' + b"".join(map(_quoted, name)) + b'"'
    elif b" " in name:
        # Without the tab, patch takes what follows the space for a time stamp.
        name += b"\t"
    return marker + b" " + name + b"\n"


def _quoted(byte: int) -> bytes:
    """A byte of a quoted name, as git writes it."""
    if byte in b'"\\':
        return b"\\" + bytes([byte])
    return bytes([byte]) if 0x20 <= byte < 0x7F else b"\\%03o" % byte


def _named(path: str) -> str:
    """``path`` below the current folder; for a file elsewhere its full path, for ``patch -d /``."""
    absolute = os.path.abspath(path)
    relative = os.path.relpath(absolute)
    outside = relative.split(os.sep, 1)[0] == os.pardir
    return (absolute.lstrip(os.sep) if outside else relative).replace(os.sep, "/")
