"""The progress bar stays away where nobody looks."""

from __future__ import annotations

import io

from bncodemod.report.progress import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_it_keeps_the_total_and_is_silent_on_a_file() -> None:
    stream = io.StringIO()
    bar = ProgressBar(stream, shown=True, patience=0)
    bar(1, 3)
    bar(3, 3)
    bar.pause()
    assert (bar.total, stream.getvalue()) == (3, "")


def test_it_is_silent_on_a_terminal_if_told_so_or_quickly_done() -> None:
    stream = Terminal()
    for bar in (ProgressBar(stream, shown=False, patience=0), ProgressBar(stream, shown=True)):
        bar(1, 3)
        bar.pause()
    assert stream.getvalue() == ""


def test_it_is_drawn_again_after_a_pause() -> None:
    stream = Terminal()
    bar = ProgressBar(stream, shown=True, patience=0, refresh=0)
    bar(1, 3)
    bar.pause()
    assert "1/3" in stream.getvalue()
    bar(2, 3)
    bar.pause()
    assert "2/3" in stream.getvalue()
