"""Where a run takes place, and how much memory each worker may have."""

from __future__ import annotations

import os
from collections.abc import Sequence

from bncodemod.verify.errors import CannotVerify

_SHARE = 0.75  # of the machine's memory
_CGROUP = "/sys/fs/cgroup/memory.max"


def choose(wanted: str, cards: Sequence[str]) -> list[str]:
    """The devices for ``auto``, ``cuda``, ``cuda:N`` or ``cpu``, one worker each.

    ``cards`` are the names of the CUDA devices. Raises CannotVerify where there is none.
    """
    if wanted == "cpu" or (wanted == "auto" and not cards):
        return ["cpu"]
    known = [f"cuda:{number}" for number in range(len(cards))]
    if wanted in ("auto", "cuda") and known:
        return known
    if wanted in known:
        return [wanted]
    there = f"torch sees {', '.join(known)}" if known else "torch sees no CUDA device"
    raise CannotVerify(f"there is no device {wanted}: {there}", "use --device cpu, or auto")


def label(device: str, cards: Sequence[str]) -> str:
    """A device with the name of its card."""
    kind, _, number = device.partition(":")
    return f"{device} ({cards[int(number)]})" if kind == "cuda" else device


def memory_limit(gibibytes: float, workers: int) -> int:
    """The bytes that a worker may use: what the user says, else its part of the machine's."""
    if gibibytes:
        return int(gibibytes * 2**30)
    return int(_machine_memory() * _SHARE / workers)


def _machine_memory() -> int:
    """The bytes of memory that this machine, or its container, has; 0 where that is not known."""
    sizes = []
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        sizes.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    try:
        with open(_CGROUP, encoding="ascii") as file:
            sizes.append(int(file.read()))
    except (OSError, ValueError):  # no cgroup, or "max"
        pass
    return min(sizes, default=0)
