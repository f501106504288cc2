"""Why a candidate could not be built or fed."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field

from bncodemod.verify.errors import ChangesFiles

_LONGEST = 200  # characters of what an exception says


@dataclass(frozen=True)
class Refusal:
    """The reason in a line, and the traceback behind it. ``error`` is for whoever mends it.

    ``steps`` says how far it got: how many modules were built and called. ``is_built`` says
    whether only its inputs are missing.
    """

    reason: str
    trace: str = ""
    error: BaseException | None = field(default=None, compare=False, repr=False)
    steps: int = field(default=0, compare=False)
    is_built: bool = field(default=False, compare=False)


def furthest(refusals: Sequence[Refusal]) -> Refusal:
    """The one that says most: what ended later than the others knew of what stopped these."""
    return max(refusals, key=lambda refusal: refusal.steps)


def refused(what: str, error: BaseException, steps: int = 0) -> Refusal:
    """``what`` ended in ``error``."""
    trace = "".join(traceback.format_exception(error))
    return Refusal(f"{what}: {in_a_line(error)}", trace, error, steps)


def import_remedy(error: BaseException) -> str:
    """What to do about a module that cannot be imported; empty where only its author knows."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        top = error.name.partition(".")[0]
        return f"install {top} where the verifier runs, or leave the file out with --exclude"
    if "operator torchvision::" in str(error):
        return "torch and torchvision do not fit each other: install both from the same index"
    return GUARD if isinstance(error, (SystemExit, EOFError, ChangesFiles)) else ""


GUARD = (
    "it is imported, without arguments: put what it does as a script below"
    ' `if __name__ == "__main__":`'
)


def in_a_line(error: BaseException) -> str:
    """An exception for a line of the report: its class, and the first line that it says."""
    first = (str(error).strip().splitlines() or [""])[0]
    shown = first if len(first) <= _LONGEST else f"{first[:_LONGEST]}…"
    return f"{type(error).__name__}: {shown}".rstrip(": ")
