"""Edits by position: nested, beside one another, with insertions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bncodemod.source.splice import Edit, splice


def to(start: int, end: int, new: str) -> Edit:
    return Edit(start, end, lambda _: new)


def wrap(start: int, end: int, left: str, right: str) -> Edit:
    return Edit(start, end, lambda text: f"{left}{text}{right}")


def test_an_outer_edit_sees_what_the_inner_ones_made() -> None:
    inner, outer = to(3, 4, "XYZ"), wrap(2, 6, "(", ")")
    spliced = splice("abcdefgh", [outer, inner], [])
    assert spliced.text == "ab(cXYZef)gh"
    assert (spliced.after[inner], spliced.after[outer]) == ("XYZ", "(cXYZef)")


def test_three_levels() -> None:
    edits = [wrap(0, 5, "<", ">"), wrap(1, 4, "[", "]"), wrap(2, 3, "(", ")")]
    assert splice("abcde", edits, []).text == "<a[b(c)d]e>"


def test_edits_that_overlap_are_refused() -> None:
    with pytest.raises(ValueError, match="overlap"):
        splice("abcdef", [to(0, 3, "x"), to(2, 5, "y")], [])


def test_an_insertion_stands_before_the_edit_at_its_place() -> None:
    assert splice("abc", [to(0, 1, "A")], [(0, "import x\n")]).text == "import x\nAbc"


def test_lines_are_counted_where_they_are_added() -> None:
    spliced = splice("a\nb\nc\n", [to(2, 3, "b1\nb2")], [(0, "new\n")])
    assert spliced.text == "new\na\nb1\nb2\nc\n"
    assert [spliced.lines_added_before(offset) for offset in (0, 2, 4)] == [1, 1, 2]


@given(st.text(max_size=40), st.data())
def test_what_no_edit_covers_stays(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=6)))
    ranges = list(zip(cuts[::2], cuts[1::2], strict=False))
    spliced = splice(text, [to(start, end, "\0") for start, end in ranges], [])
    kept, last = [], 0
    for start, end in ranges:
        kept.append(text[last:start])
        last = end
    assert spliced.text == "\0".join([*kept, text[last:]])
