"""From what candidates showed to the answer for each site."""

from __future__ import annotations

import dataclasses
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from bncodemod.verify.model import (
    NORM_CAUSES,
    CandidateResult,
    Cause,
    Check,
    CheckResult,
    ModuleResult,
    Outcome,
    Site,
    SiteResult,
    Verdict,
)

_Seen = tuple[CandidateResult, list[CheckResult]]


def cleared(candidate: CandidateResult) -> Iterator[Site]:
    """The sites that a candidate verifies: it runs them and passes all its checks."""
    if any(c.outcome is Outcome.PASSED for c in candidate.checks):
        if not any(c.outcome is Outcome.FAILED for c in candidate.checks):
            yield from candidate.sites


def judge(
    sites: Iterable[Site],
    modules: Mapping[str, ModuleResult],
    candidates: Iterable[CandidateResult],
    device: str,
) -> tuple[SiteResult, ...]:
    """The verdict on each site.

    A norm at fault in any candidate fails the site; else a candidate that passes all its checks
    verifies it; else what stood in the way is what it failed with.
    """
    candidates = list(candidates)
    reaching: dict[Site, list[CandidateResult]] = defaultdict(list)
    for candidate in candidates:
        for site in candidate.sites:
            reaching[site].append(candidate)
    return tuple(
        dataclasses.replace(_judged(site, reaching[site], modules, candidates), device=device)
        for site in sites
    )


def _judged(
    site: Site,
    reaching: list[CandidateResult],
    modules: Mapping[str, ModuleResult],
    candidates: list[CandidateResult],
) -> SiteResult:
    seen: list[_Seen] = [(c, [k for k in c.checks if _failed(k)]) for c in reaching]
    for candidate, failures in seen:
        for failure in failures:
            if failure.cause in NORM_CAUSES and (not failure.sites or site in failure.sites):
                return _fails(site, candidate, failure)
    blamed = _blamed_by_line(site, candidates)
    if blamed is not None:
        return _fails(site, *blamed)
    for candidate, failures in seen:
        passed = tuple(k.check for k in candidate.checks if k.outcome is Outcome.PASSED)
        if passed and not failures:
            every = {
                k.check
                for other, failed in seen
                if not failed
                for k in other.checks
                if k.outcome is Outcome.PASSED
            }
            checks = tuple(check for check in Check if check in every)
            return SiteResult(site, Verdict.VERIFIED, checks=checks, candidate=candidate.name)
    for candidate, failures in seen:
        if failures:
            return _fails(site, candidate, _as_obstacle(site, failures[0]))
    if reaching:
        return SiteResult(site, Verdict.NOT_REACHED, reason=_unchecked(reaching[0]))
    return SiteResult(site, Verdict.NOT_REACHED, reason=_why_not(site, modules, candidates))


def _failed(check: CheckResult) -> bool:
    return check.outcome is Outcome.FAILED


def _fails(site: Site, candidate: CandidateResult, failure: CheckResult) -> SiteResult:
    return SiteResult(site, Verdict.FAILED, candidate=candidate.name, failure=failure)


def _blamed_by_line(
    site: Site, candidates: list[CandidateResult]
) -> tuple[CandidateResult, CheckResult] | None:
    """The failure that names a line of the site: a functional norm builds no module."""
    for candidate in candidates:
        for check in candidate.checks:
            if _failed(check) and check.cause is Cause.RUNNING_STATS and check.line:
                if site.line <= check.line <= site.end_line and _same(check.path, site.path):
                    return candidate, check
    return None


def _as_obstacle(site: Site, failure: CheckResult) -> CheckResult:
    """A failure as it is reported for a site that is not to blame for it."""
    others = [other for other in failure.sites if other != site]
    if failure.cause in NORM_CAUSES and others:
        place = f"{os.path.basename(others[0].path)}:{others[0].line}"
        message = f"another norm of the model stands in the way, {place}: {failure.message}"
        return dataclasses.replace(failure, message=message)
    return failure


def _unchecked(candidate: CandidateResult) -> str:
    said = [k.message for k in candidate.checks if k.outcome is Outcome.SKIPPED and k.message]
    why = said[0] if said else candidate.error or "no check applies"
    return f"{candidate.name} was built, but not checked: {why}"


def _why_not(
    site: Site, modules: Mapping[str, ModuleResult], candidates: list[CandidateResult]
) -> str:
    """Why no candidate reaches a site."""
    module = modules.get(site.path)
    if module is not None and module.error:
        return f"the module could not be imported: {module.error}"
    parts = site.owner.split(".") if site.owner else []
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        for candidate in candidates:
            if candidate.path == site.path and candidate.name == name:
                if candidate.error:
                    return f"{name} was not built: {candidate.error}"
                if candidate.built is not None:
                    return f"{name} was built and run, but this line made no norm that ran"
    if module is not None and module.notes:
        return module.notes[-1]
    if not parts:
        return "no candidate that was built uses what stands here"
    return f"{site.owner} was not built on its own, and nothing that was built uses it"


def _same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)
