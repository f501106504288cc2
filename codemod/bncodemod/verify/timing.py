"""How long vmap takes, and the loop that it stands for."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

from bncodemod.verify import calling
from bncodemod.verify.model import Timed, Timing
from bncodemod.verify.refusal import in_a_line
from bncodemod.verify.subject import Subject, varied

# How many batches, and how many models: a GPU has room for more.
_SIZES = {"cuda": (8, 32)}
_FEW = (8,)
_LEAST, _MOST = 3, 20  # runs
_SECONDS = 1.0  # after which no more runs are added


def timed(subject: Subject, path: str, without: Mapping[str, str]) -> Timed:
    """vmap over batches, and an ensemble, each against its loop; the models are not copied.

    ``without`` says what is not to be measured, and why. What cannot be measured is noted.
    """
    found: list[Timing] = []
    notes = [f"not timed: {what}: {why}" for what, why in without.items()]
    for size in _SIZES.get(subject.device.type, _FEW):
        for what in (name for name in _MEASURES if name not in without):
            start = time.perf_counter()
            try:
                with torch.no_grad():
                    loop, fast = _MEASURES[what](subject, size)
            except Exception as error:
                notes.append(f"not timed: {what} of {size}: {in_a_line(error)}")
            else:
                found.append(Timing(what, size, loop, fast, time.perf_counter() - start))
    return Timed(path, subject.name, tuple(found), tuple(notes))


def _batches(subject: Subject, size: int) -> tuple[float, float]:
    module, inputs = subject.fresh(), subject.feed(stack=size)
    parts = calling.parts(inputs)
    loop = median(lambda: [calling.run(module, part) for part in parts], subject.device)
    fast = median(lambda: calling.vmapped(module, inputs, 0, "same"), subject.device)
    return loop, fast


def _ensemble(subject: Subject, size: int) -> tuple[float, float]:
    models = [varied(subject.fresh(), seed) for seed in range(size)]
    inputs = subject.feed()
    loop = median(lambda: [calling.run(model, inputs) for model in models], subject.device)
    call = calling.ensemble(models, inputs)
    return loop, median(lambda: call("same"), subject.device)


_MEASURES = {"vmap": _batches, "ensemble": _ensemble}


def median(function: Callable[[], object], device: torch.device) -> float:
    """The median time of a call in milliseconds, after one that is not counted."""
    function()
    clock = _cuda_time if device.type == "cuda" else _wall_time
    times: list[float] = []
    while len(times) < _LEAST or (len(times) < _MOST and sum(times) < _SECONDS * 1000):
        times.append(clock(function))
    return statistics.median(times)


def _wall_time(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * 1000


def _cuda_time(function: Callable[[], object]) -> float:
    start, end = (
        torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        for _ in range(2)
    )
    start.record()
    function()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end))
