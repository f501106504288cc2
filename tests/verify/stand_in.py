"""A plain examiner for tests of the driver: it builds every class of a module, and checks nothing.

What a class does in methods called ``check`` and ``time`` stands for the checks and the measuring.

The worker processes that run it are real ones.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable

from bncodemod.verify.model import (
    Built,
    CandidateResult,
    Check,
    CheckResult,
    Event,
    Job,
    ModuleResult,
    Outcome,
    Started,
)


def examine(job: Job, emit: Callable[[Event], None]) -> None:
    """Import the module, build its classes, call their ``check`` and ``time`` if they have them."""
    emit(Started(""))
    spec = importlib.util.spec_from_file_location(job.name, job.path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    emit(ModuleResult(job.path))
    for name, value in vars(module).items():
        if inspect.isclass(value) and name not in job.skip:
            emit(Started(name))
            built = value()
            emit(Started(name, Check.VMAP, job.sites))
            if hasattr(built, "check"):
                built.check()
            passed = CheckResult(Check.VMAP, Outcome.PASSED)
            emit(
                CandidateResult(
                    job.path, name, 1, Built.NO_ARGUMENTS, sites=job.sites, checks=(passed,)
                )
            )
            if hasattr(built, "time"):
                emit(Started(name, is_timed=True))
                built.time()
