"""The settings under which answers are compared: no TF32, deterministic algorithms."""

from __future__ import annotations

import os
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def seed_all(number: int) -> None:
    """Start the generators of torch, of ``random`` and of NumPy where it is in use."""
    torch.manual_seed(number)
    random.seed(number)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(number % 2**32)


def states_of_others() -> dict[str, Any]:
    """Where the generators stand whose numbers are plain, by their modules: all but torch's."""
    states: dict[str, Any] = {"random": random.getstate()}
    if "numpy" in sys.modules:
        states["numpy.random"] = repr(sys.modules["numpy"].random.get_state(legacy=False))
    return states


@contextmanager
def reproducible() -> Iterator[None]:
    """Compute the same twice, and in full precision; operators that cannot do so only warn."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    backends: tuple[Any, ...] = torch.backends.cuda.matmul, torch.backends.cudnn
    saved = [backend.allow_tf32 for backend in backends], torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True, warn_only=True)
    for backend in backends:
        backend.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*deterministic", category=UserWarning)
            yield
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        for backend, allowed in zip(backends, saved[0], strict=True):
            backend.allow_tf32 = allowed
        torch.backends.cudnn.benchmark = saved[1]
