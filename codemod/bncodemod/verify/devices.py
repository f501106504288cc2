"""Where a run takes place, and how much memory each worker may have."""

from __future__ import annotations

import os
from collections.abc import Sequence

from bncodemod.sweep.run import available_cpus
from bncodemod.verify.errors import CannotVerify

_WORKER = 2 * 2**30  # bytes that a worker should have at least
_SHARE = 0.75  # of the machine's memory
_CGROUP = "/sys/fs/cgroup/memory.max"


def cpu_workers(modules: int) -> int:
    """How many workers share the processors: the models are small, so each gets few threads."""
    return max(1, min(available_cpus(), modules, _machine_memory() // _WORKER or 1))


def choose(wanted: str, cards: Sequence[str], workers: int) -> list[str]:
    """The device of each worker, for ``auto``, ``cuda``, ``cuda:N`` or ``cpu``.

    ``cards`` are the names of the CUDA devices, of which each gets a worker; ``workers`` is the
    number of those on the CPU. Raises CannotVerify where there is no such device.
    """
    if wanted == "cpu" or (wanted == "auto" and not cards):
        return ["cpu"] * workers
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
