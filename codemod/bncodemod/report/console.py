"""Lines of text on a stream, coloured where a person looks at a terminal."""

from __future__ import annotations

import os
from typing import TextIO

# A piece of a line and its rich style; an empty style is plain text.
Span = tuple[str, str]


class Console:
    """Writes lines; rich is imported with the first coloured one, and only on a terminal.

    Characters that are not printable, a newline in a file's name say, are shown escaped, and so
    are those that the stream's encoding does not have: a line stays one line, and writing never
    fails because of the text.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._coloured = _wants_colour(stream)

    def line(self, *spans: Span) -> None:
        """Write one line."""
        shown = [(self._shown(text), style) for text, style in spans]
        if self._coloured and any(style for _, style in shown):
            self._write_coloured(shown)
        else:
            self._stream.write("".join(text for text, _ in shown) + "\n")

    def flush(self) -> None:
        """Hand what was written to the reader, so that two streams keep their order."""
        self._stream.flush()

    def _shown(self, text: str) -> str:
        if not text.isprintable():
            text = "".join(c if c.isprintable() else _escaped(c) for c in text)
        if not text.isascii():
            encoding = self._stream.encoding or "utf-8"
            text = text.encode(encoding, "backslashreplace").decode(encoding)
        return text

    def _write_coloured(self, spans: list[Span]) -> None:
        from rich.console import Console as RichConsole
        from rich.text import Text

        RichConsole(file=self._stream, soft_wrap=True, highlight=False).print(Text.assemble(*spans))


def _wants_colour(stream: TextIO) -> bool:
    """A terminal that knows colour, and a user who has not said no: https://no-color.org."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
