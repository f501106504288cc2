"""What could be built before the rewrite and cannot be any more."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from bncodemod.verify import meta
from bncodemod.verify.candidates import Candidate, resolve
from bncodemod.verify.causes import users_line
from bncodemod.verify.instrument import lookups, sites_on
from bncodemod.verify.loading import originals
from bncodemod.verify.model import Cause, Check, CheckResult, Job, Outcome, in_order
from bncodemod.verify.offline import offline
from bncodemod.verify.refusal import in_a_line


def broken(candidate: Candidate, job: Job) -> CheckResult | None:
    """The failure of a candidate that takes no arguments and whose original can be built."""
    error = _error(candidate.target)
    if error is None or not job.original_root:
        return None
    with originals(job) as module:
        before = None if isinstance(module, Exception) else resolve(module, candidate.name)
        if not callable(before) or _error(before) is not None:
            return None
    path, line = users_line(error.__traceback__, (job.root,))
    return CheckResult(
        Check.META_VMAP,
        Outcome.FAILED,
        f"{candidate.name}() raises {in_a_line(error)}, and its original does not",
        Cause.BROKEN,
        "undo the rewrite of this line, or ignore it (# bncodemod: ignore), and report it",
        path,
        line,
        "".join(traceback.format_exception(error)),
        sites=in_order(sites_on(error.__traceback__)),
    )


def _error(target: Callable[..., Any]) -> Exception | None:
    """What a call without arguments raises."""
    try:
        with offline(), lookups():
            meta.build(target)
    except Exception as error:
        return error
    return None
