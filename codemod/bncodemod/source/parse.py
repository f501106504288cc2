"""Text to ``ast``, with errors that say what to do."""

from __future__ import annotations

import ast
import re
import sys
import warnings

from bncodemod.source.errors import SyntaxFailed, TooComplex
from bncodemod.source.text import SourceText

_PYTHON_2 = re.compile(
    r"^\s*(?:print\s+[^=(.\s]|exec\s+['\"\w]|raise\s+\w+\s*,|except\s+[\w.]+\s*,\s*\w+\s*:)|<>|\bur['\"]"
)
_NEWER = re.compile(
    r"^\s*(?:type\s+\w+.*=|(?:async\s+)?def\s+\w+\s*\[|class\s+\w+\s*\[)|\bf['\"]|\bt['\"]|except\*|^\s*except\s+\w+\s*,"
)
_HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def parse(source: SourceText) -> ast.Module:
    """Parse a file.

    Raises SyntaxFailed where it is not Python that this interpreter knows, TooComplex where it is
    nested deeper than the parser can follow.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source.text)
    except SyntaxError as error:
        line = error.lineno or 0
        message = error.msg or "invalid syntax"
        if "too many nested parentheses" in message or "too many statically nested" in message:
            raise _too_complex(message, line) from None
        raise SyntaxFailed(message, line=line, remedy=_remedy(source, line)) from None
    except RecursionError:
        raise _too_complex("an expression is nested too deeply", 0) from None
    except MemoryError:
        raise _too_complex("the parser's stack overflowed", 0) from None
    except ValueError as error:
        raise SyntaxFailed(str(error), remedy="save the file as Python source") from None


def parses(text: str) -> bool:
    """Whether a text is Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _too_complex(message: str, line: int) -> TooComplex:
    return TooComplex(
        message, line=line, remedy="exclude the file, or generate it less deeply nested"
    )


def _remedy(source: SourceText, line: int) -> str:
    if line:
        text = source.text[source.line_start(line) : source.line_start(line + 1)]
        if _PYTHON_2.search(text):
            return (
                "this looks like Python 2: convert the file (2to3) or exclude it; if it is newer"
                f" than Python {_HERE}, run bncodemod with the Python that it is for"
            )
        if _NEWER.search(text):
            return (
                f"correct the line; if its syntax is newer than Python {_HERE},"
                " run bncodemod with the Python that the file is for"
            )
    return f"correct the file (it is not valid Python {_HERE}) or exclude it"
