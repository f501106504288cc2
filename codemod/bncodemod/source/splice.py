"""Edits of a text by position: what no edit covers stays as it is."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Edit:
    """New text for the characters ``start`` to ``end``.

    ``transform`` gets their text, in which the edits that lie inside are made already, and gives
    the new text.
    """

    start: int
    end: int
    transform: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Spliced:
    """A text after its edits, and what became of each of them."""

    text: str
    after: dict[Edit, str]
    _ends: tuple[int, ...]
    _added_lines: tuple[int, ...]

    def lines_added_before(self, offset: int) -> int:
        """How many lines the edits add above a character of the text as it was."""
        place = bisect_right(self._ends, offset)
        return self._added_lines[place - 1] if place else 0


def splice(text: str, edits: Sequence[Edit], insertions: Sequence[tuple[int, str]]) -> Spliced:
    """Make edits, which may lie inside one another, and insert lines.

    Raises ValueError where two edits overlap without one lying inside the other.
    """
    after: dict[Edit, str] = {}
    pending = sorted(dict.fromkeys(edits), key=lambda e: (e.start, -e.end))
    pieces: list[tuple[int, int, str]] = [(at, at, added) for at, added in insertions]
    while pending:
        outer = pending.pop(0)
        inner = []
        while pending and pending[0].start < outer.end:
            inner.append(pending.pop(0))
        pieces.append((outer.start, outer.end, _apply(text, outer, inner, after)))
    # At one place, insertions come before the edit that begins there, in their own order.
    pieces.sort(key=lambda piece: piece[:2])
    out: list[str] = []
    ends: list[int] = []
    added: list[int] = []
    last = total = 0
    for start, end, new in pieces:
        out += [text[last:start], new]
        total += _line_ends(new) - _line_ends(text[start:end])
        ends.append(end)
        added.append(total)
        last = end
    out.append(text[last:])
    return Spliced("".join(out), after, tuple(ends), tuple(added))


def _line_ends(text: str) -> int:
    return text.count("\n") + text.count("\r") - text.count("\r\n")


def _apply(text: str, outer: Edit, inner: list[Edit], after: dict[Edit, str]) -> str:
    """The new text of one edit after those inside it."""
    out: list[str] = []
    last = outer.start
    while inner:
        edit = inner.pop(0)
        if edit.end > outer.end:
            raise ValueError(f"edits overlap at character {edit.start}")
        deeper = []
        while inner and inner[0].start < edit.end:
            deeper.append(inner.pop(0))
        out += [text[last : edit.start], _apply(text, edit, deeper, after)]
        last = edit.end
    out.append(text[last : outer.end])
    after[outer] = outer.transform("".join(out))
    return after[outer]
