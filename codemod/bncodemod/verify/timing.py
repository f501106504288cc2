"""How long vmap takes, and the loop that it stands for."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from bncodemod.verify import calling
from bncodemod.verify.model import Timing
from bncodemod.verify.subject import Subject, varied

# How many batches, and how many models: a GPU has room for more.
_SIZES = {"cuda": (8, 32)}
_FEW = (8,)
_LEAST, _MOST = 3, 20  # runs
_SECONDS = 1.0  # after which no more runs are added


def timings(subject: Subject) -> tuple[Timing, ...]:
    """vmap over batches, and an ensemble, each against its loop; the models are not copied."""
    sizes = _SIZES.get(subject.device.type, _FEW)
    with torch.no_grad():
        pairs = ((_batches(subject, size), _ensemble(subject, size)) for size in sizes)
        return tuple(timing for pair in pairs for timing in pair)


def _batches(subject: Subject, size: int) -> Timing:
    module, inputs = subject.fresh(), subject.feed(stack=size)
    parts = calling.parts(inputs)
    loop = median(lambda: [calling.run(module, part) for part in parts], subject.device)
    fast = median(lambda: calling.vmapped(module, inputs, 0, "same"), subject.device)
    return Timing("vmap", size, loop, fast)


def _ensemble(subject: Subject, size: int) -> Timing:
    models = [varied(subject.fresh(), seed) for seed in range(size)]
    inputs = subject.feed()
    loop = median(lambda: [calling.run(model, inputs) for model in models], subject.device)
    call = calling.ensemble(models, inputs)
    return Timing("ensemble", size, loop, median(lambda: call("same"), subject.device))


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
