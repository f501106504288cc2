"""Lines of text: colour only where a person looks, and never a failure because of the text."""

from __future__ import annotations

import io
import os
import pty

import pytest

from bncodemod.report.console import Console

COLOUR = "\x1b["


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _terminal_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


def line(stream: io.StringIO, text: str, style: str = "red") -> str:
    Console(stream).line((text, style), (" plain", ""))
    return stream.getvalue()


def test_a_terminal_gets_colour() -> None:
    assert COLOUR in line(Terminal(), "x")


def test_a_real_terminal_gets_colour() -> None:
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as stream:
        Console(stream).line(("x", "red"))
    assert COLOUR in os.read(leader, 100).decode()
    os.close(leader)


def test_a_file_gets_none() -> None:
    assert line(io.StringIO(), "x") == "x plain\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_user_can_say_no(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert line(Terminal(), "x") == "x plain\n"


def test_long_lines_and_markup_are_left_alone() -> None:
    text = "[red]" + "long " * 100 + ":smile: 12 'quoted'"
    assert text in line(Terminal(), text)


def test_what_would_break_the_line_is_escaped() -> None:
    text = line(io.StringIO(), "a\nb\x1b[0m\t\udcff\u2028é")
    assert text == "a\\nb\\x1b[0m\\t\\udcff\\u2028é plain\n"


def test_what_the_encoding_does_not_have_is_escaped() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="latin-1")
    Console(stream).line(("é→", ""))
    stream.flush()
    assert raw.getvalue() == b"\xe9\\u2192\n"
