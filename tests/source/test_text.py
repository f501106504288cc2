"""Bytes to text and back, and positions in every encoding and line ending."""

from __future__ import annotations

import ast
import codecs
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bncodemod.source.errors import Undecodable
from bncodemod.source.text import SourceText

LINES = st.lists(st.text(st.sampled_from("ab é漢🙂\t\f\x1c\u2028#'"), max_size=8), max_size=6)


@given(LINES, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_the_same_bytes_come_back(lines: list[str], newline: str, bom: bool) -> None:
    data = (codecs.BOM_UTF8 if bom else b"") + newline.join(lines).encode()
    source = SourceText.decode(data)
    assert source.encode(source.text) == data


@given(LINES, st.lists(st.sampled_from(["\n", "\r\n", "\r"]), min_size=6, max_size=6))
def test_a_position_leads_back_to_its_character(lines: list[str], newlines: list[str]) -> None:
    text = "".join(line + newline for line, newline in zip(lines, newlines, strict=False))
    source = SourceText.decode(text.encode())
    for offset in range(len(text)):
        line, column = source.position(offset)
        assert source.line_start(line) + column - 1 == offset
        start = source.line_start(line)
        assert source.offset(line, len(text[start:offset].encode())) == offset


# Python itself finds no coding cookie in a file whose lines end in a bare carriage return.
@pytest.mark.parametrize(
    ("encoding", "newline"),
    [
        *itertools.product(["utf-8", "latin-1", "cp1252", "shift_jis"], ["\n", "\r\n"]),
        ("utf-8", "\r"),
    ],
)
def test_the_offset_of_a_node_is_where_its_text_stands(encoding: str, newline: str) -> None:
    sign = "漢" if encoding == "shift_jis" else "é"
    code = newline.join([f"# coding: {encoding}", f"x = '{sign}{sign}'; found = 1", ""])
    source = SourceText.decode(code.encode(encoding))
    module = ast.parse(source.text)
    target = module.body[1].targets[0]  # type: ignore[attr-defined]
    start = source.offset(target.lineno, target.col_offset)
    assert source.text[start : start + 5] == "found"


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"x = 1\n\0", 2),
        (b"# coding: klingon\n", 1),
        (b"x = 1\n# \xff\n", 2),
        (b"# coding: ascii\nx = '\xc3\xa9'\n", 2),
    ],
)
def test_what_is_no_text_is_refused_at_its_line(data: bytes, line: int) -> None:
    with pytest.raises(Undecodable) as raised:
        SourceText.decode(data)
    assert raised.value.line == line
    assert raised.value.remedy


@pytest.mark.parametrize(
    ("text", "offset", "expected"),
    [("a\r\nb\n", 0, "\r\n"), ("a\r\nb", 3, "\r\n"), ("a", 0, "\n"), ("a\rb", 2, "\r")],
)
def test_the_line_ending_in_force(text: str, offset: int, expected: str) -> None:
    assert SourceText.decode(text.encode()).newline(offset) == expected
