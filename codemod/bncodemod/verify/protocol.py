"""What the driver and its workers tell each other, besides jobs and events: no torch here."""

from __future__ import annotations

from dataclasses import dataclass, field

from bncodemod.verify.model import Example

# The worker finds the driver's address and the key to it in its environment.
ADDRESS = "BNCODEMOD_DRIVER"
KEY = "BNCODEMOD_KEY"
CUT_OFF = 79  # the exit code of a worker that can be heard no more

EXAMINE = "bncodemod.verify.examine:examine"


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker is told first.

    ``examine`` names the function that does the work, as ``module:function``; ``examples`` is the
    user's file of examples, which is run before any module is imported.
    """

    examine: str = EXAMINE
    examples: str = ""


@dataclass(frozen=True, slots=True)
class Hello:
    """What a worker answers: what it runs on, or why it cannot work."""

    versions: dict[str, str] = field(default_factory=dict)
    cards: tuple[str, ...] = ()  # the names of the CUDA devices
    examples: tuple[Example, ...] = ()
    tolerance: dict[str, float] = field(default_factory=dict)  # of comparisons, by dtype
    error: str = ""
    remedy: str = ""
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """A job is done; ``trace`` says why, if it is a bug that ended it."""

    forked: int = 0  # how often the module's code forked this process
    changed: tuple[str, ...] = ()  # what it left changed in torch
    trace: str = ""
