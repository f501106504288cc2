"""Why a candidate could not be built or fed."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Refusal:
    """The reason in a line, and the traceback behind it. ``error`` is for whoever mends it.

    ``steps`` says how far it got: how many modules were built and called.
    """

    reason: str
    trace: str = ""
    error: BaseException | None = field(default=None, compare=False, repr=False)
    steps: int = field(default=0, compare=False)


def furthest(refusals: Sequence[Refusal]) -> Refusal:
    """The one that says most: what ended later than the others knew of what stopped these."""
    return max(refusals, key=lambda refusal: refusal.steps)


def refused(what: str, error: BaseException, steps: int = 0) -> Refusal:
    """``what`` ended in ``error``."""
    lines = str(error).strip().splitlines() or [""]
    first = lines[0] if len(lines[0]) <= 200 else f"{lines[0][:200]}…"
    reason = f"{what}: {type(error).__name__}: {first}".rstrip(": ")
    return Refusal(reason, "".join(traceback.format_exception(error)), error, steps)
