"""What could be built or run before the rewrite and cannot be any more."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch

from bncodemod.verify import meta
from bncodemod.verify.candidates import Candidate, resolve
from bncodemod.verify.causes import is_torchs, users_line
from bncodemod.verify.harvest import Harvest
from bncodemod.verify.loading import originals
from bncodemod.verify.marks import lookups, sites_on
from bncodemod.verify.model import Cause, Check, CheckResult, Job, Outcome, Site, in_order
from bncodemod.verify.offline import offline
from bncodemod.verify.prepare import prepare
from bncodemod.verify.recorder import norms_in, sites_of
from bncodemod.verify.refusal import Refusal, in_a_line


def broken(candidate: Candidate, job: Job) -> CheckResult | None:
    """The failure of a candidate that takes no arguments and whose original can be built."""
    raised = _raised(candidate.target)
    if raised is None or not job.original_root:
        return None
    error, sites = raised
    with originals(job) as module:
        before = None if isinstance(module, Exception) else resolve(module, candidate.name)
        if not callable(before) or _raised(before) is not None:
            return None
    words = f"{candidate.name}() raises {in_a_line(error)}, and its original does not"
    return _failure(words, error, job, sites)


def no_longer_runs(candidate: Candidate, job: Job) -> CheckResult | None:
    """The failure of a candidate that does not run on inputs on which its original does."""
    with originals(job) as module:
        if isinstance(module, Exception):
            return None
        if not callable(before := resolve(module, candidate.name)):
            return None
        old = replace(job, root=job.original_root)
        with Harvest((job.original_root,)) as harvest:
            found = prepare(before, candidate.name, module, old, harvest)
    if isinstance(found, Refusal):
        return None
    try:
        device = meta.device_of(found.constructed.module)
        now = found.constructed.rebuild(device, candidate.target)
    except Exception:  # arguments may be of the original's own classes
        return None
    args, kwargs = found.inputs.make(device, batch=2 * found.inputs.multiple)
    try:
        with offline(), torch.no_grad(), device:
            now(*args, **kwargs)
    except Exception as error:
        words = f"{candidate.name} raises {in_a_line(error)} in forward, and its original does not"
        return _failure(words, error, job, {s for _, norm in norms_in(now) for s in sites_of(norm)})
    return None


def asks_for_statistics(error: BaseException | None) -> bool:
    """Whether the line of the user's code that an error arose in names running statistics."""
    frames = traceback.extract_tb(error.__traceback__) if error is not None else ()
    lines = [frame.line or "" for frame in frames if not is_torchs(frame.filename)]
    return _STATISTICS.search(lines[-1]) is not None if lines else False


_STATISTICS = re.compile(r"\b(running_mean|running_var|num_batches_tracked)\b")


def _failure(words: str, error: Exception, job: Job, sites: Iterable[Site]) -> CheckResult:
    path, line = users_line(error.__traceback__, (job.root,))
    return CheckResult(
        Check.META_VMAP,
        Outcome.FAILED,
        words,
        Cause.BROKEN,
        "undo the rewrite of this line, or ignore it (# bncodemod: ignore), and report it",
        path,
        line,
        "".join(traceback.format_exception(error)),
        sites=in_order(sites),
    )


def _raised(target: Callable[..., Any]) -> tuple[Exception, frozenset[Site]] | None:
    """What a call without arguments raises, and the value sites that it was raised in."""
    with offline(), lookups():
        try:
            meta.build(target)
        except Exception as error:
            return error, sites_on(error.__traceback__)
    return None
