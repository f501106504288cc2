"""A file's bytes as text, and back to the same bytes.

Positions of ``ast`` are lines and UTF-8 bytes of the decoded text; edits are characters of it.
"""

from __future__ import annotations

import io
import re
import tokenize
from bisect import bisect_right
from codecs import BOM_UTF8
from dataclasses import dataclass, field
from itertools import accumulate

from bncodemod.source.errors import Undecodable

# What Python counts as the end of a line; str.splitlines also splits at form feeds and U+2028.
_NEWLINE = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class SourceText:
    """The decoded text of a file without its byte order mark."""

    text: str
    encoding: str
    bom: bool
    _ascii: bool = field(repr=False)
    _line_starts: tuple[int, ...] = field(repr=False)

    @classmethod
    def decode(cls, data: bytes) -> SourceText:
        """Decode as Python would: byte order mark, coding cookie, else UTF-8.

        Raises Undecodable where the bytes are not text or would not be the same when encoded.
        """
        nul = data.find(b"\0")
        if nul >= 0:
            raise Undecodable(
                "source holds a NUL byte: not a text file",
                line=data.count(b"\n", 0, nul) + 1,
                remedy="exclude the file, or save it as text",
            )
        try:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        except SyntaxError as error:
            raise Undecodable(
                str(error), line=1, remedy="correct the coding cookie in the first two lines"
            ) from None
        bom = data.startswith(BOM_UTF8)
        body = data[len(BOM_UTF8) :] if bom else data
        encoding = encoding.removesuffix("-sig")
        try:
            text = body.decode(encoding)
        except UnicodeDecodeError as error:
            raise Undecodable(
                f"byte 0x{body[error.start]:02x} is not {encoding}",
                line=body.count(b"\n", 0, error.start) + 1,
                remedy="declare the file's true encoding in a coding cookie, or save it as"
                f" {encoding}",
            ) from None
        if encoding != "utf-8" and text.encode(encoding) != body:
            raise Undecodable(
                f"{encoding} does not give the same bytes back",
                line=1,
                remedy="save the file as UTF-8",
            )
        return cls(text, encoding, bom, text.isascii(), _line_starts(text))

    def encode(self, text: str) -> bytes:
        """``text`` in this file's encoding and with its byte order mark."""
        return (BOM_UTF8 if self.bom else b"") + text.encode(self.encoding)

    def offset(self, line: int, column: int) -> int:
        """The character at an ``ast`` position: line from 1, column in UTF-8 bytes from 0."""
        start = self._line_starts[line - 1]
        if self._ascii:
            return start + column
        end = self._line_starts[line] if line < len(self._line_starts) else len(self.text)
        head = self.text[start:end].encode()[:column]
        return start + len(head.decode(errors="ignore"))

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column, both from 1, of a character."""
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    def line_start(self, line: int) -> int:
        """The first character of a line that counts from 1; the text's end past the last line."""
        return self._line_starts[line - 1] if line <= len(self._line_starts) else len(self.text)

    def newline(self, offset: int) -> str:
        """The line ending in force at a character: that of its line, else of the one before."""
        following = _NEWLINE.search(self.text, offset)
        if following:
            return following[0]
        line = bisect_right(self._line_starts, offset)
        if line > 1:
            before = self.text[: self._line_starts[line - 1]]
            return "\r\n" if before.endswith("\r\n") else before[-1]
        return "\n"


def _line_starts(text: str) -> tuple[int, ...]:
    if "\r" in text and text.count("\r") != text.count("\r\n"):
        return (0, *(match.end() for match in _NEWLINE.finditer(text)))
    ends = accumulate(len(line) + 1 for line in text.split("\n"))
    return (0, *ends)[:-1]
