"""Files that cannot be handled: one class a BN9xx code; ``explain`` prints its docstring."""

from __future__ import annotations

from typing import ClassVar

from bncodemod.model import FileError


class SourceError(Exception):
    """Base of the BN9xx errors; ``line`` is 0 where no line is to blame."""

    code: ClassVar[str]

    def __init__(self, message: str, *, remedy: str, line: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.line = line

    def at(self, path: str) -> FileError:
        """This error as it is reported for ``path``."""
        return FileError(path, self.code, self.line, self.message, self.remedy)


class SyntaxFailed(SourceError):
    """The file does not parse.

    It is not Python, it is Python 2, it is broken, or its syntax is newer than the Python that
    runs bncodemod. It is left as it is and the run goes on; the exit code is 2.
    """

    code = "BN901"


class Unreadable(SourceError):
    """The file could not be read.

    It does not exist, permission is denied, it is a broken symbolic link, or the disk failed.
    The run goes on; the exit code is 2.
    """

    code = "BN902"


class Undecodable(SourceError):
    """The bytes are not text in the encoding that the file declares.

    A NUL byte, an unknown coding cookie, bytes that the declared encoding does not have, or an
    encoding that would not give the same bytes back. The file is left as it is.
    """

    code = "BN903"


class TooComplex(SourceError):
    """The file is larger or nested deeper than the parsers can cope with.

    Files of more than 5 MB that may hold a site (a syntax tree takes a hundred times the room of
    its text), thousands of nested parentheses or chained calls: generated code is the usual cause.
    The file is left as it is.
    """

    code = "BN904"


class InternalError(SourceError):
    """bncodemod failed on this file: a bug of its own.

    The file is left as it is. The message names the cause; please report it with the file.
    """

    code = "BN905"


class Unwritable(SourceError):
    """The rewritten file could not be put in place.

    Permission is denied, the disk is full, the file has hard links, or it changed while bncodemod
    ran. The old content stays whole.
    """

    code = "BN906"
