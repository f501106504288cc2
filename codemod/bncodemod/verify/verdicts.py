"""From what candidates showed to the answer for each site."""

from __future__ import annotations

import dataclasses
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from bncodemod.verify.model import (
    NORM_CAUSES,
    SPENT,
    CandidateResult,
    Cause,
    Check,
    CheckResult,
    ModuleResult,
    Outcome,
    Site,
    SiteKind,
    SiteResult,
    Verdict,
)

# Rules whose sites are names and configurations that a library turns into norms.
_REGISTRIES = frozenset({"BN108", "BN109"})
REGISTRY = "a configuration that only the library reads which it is written for"
NOT_CHOSEN = "none of the chosen checks runs it under vmap as in training"


_UNDER_VMAP = frozenset({Check.META_VMAP, Check.VMAP, Check.GRAD, Check.ENSEMBLE})
_COMPARING = _UNDER_VMAP - {Check.META_VMAP}
# Causes that no other hides: the rewrite itself has done harm.
_DAMAGE = frozenset({Cause.BROKEN, Cause.CHANGED, Cause.STATISTICS})


def cleared(candidate: CandidateResult) -> Iterator[Site]:
    """The sites that a candidate verifies: they run in it and pass all checks that were made.

    One of these checks has run all of their norms under vmap, in train mode, and has compared
    what came of it, if any was to do so; ``vmap`` itself, if its answer was to be compared.
    """
    if _not_compared(candidate) is not None:
        return
    made = {check.check for check in candidate.checks}
    for site in candidate.sites:
        if site in candidate.idle or _failures(candidate, site):
            continue
        shown = {check.check for check in candidate.checks if _shows(check, site, candidate)}
        if site.kind is SiteKind.BLOCK:
            is_shown = bool(shown)
        else:
            is_shown = bool(shown & (_COMPARING if made & _COMPARING else shown))
            is_shown &= not any(_leaves_out(check, site) for check in candidate.checks)
        if is_shown:
            yield site


def _not_compared(candidate: CandidateResult) -> CheckResult | None:
    """The check ``vmap`` where it was to be made and there was nothing to compare."""
    for check in candidate.checks:
        if check.check is Check.VMAP and check.outcome is Outcome.SKIPPED:
            return check
    return None


def _leaves_out(check: CheckResult, site: Site) -> bool:
    """Whether a check was passed under vmap without a site's norms, as by catching their error."""
    is_passed = check.check in _UNDER_VMAP and check.outcome is Outcome.PASSED
    return is_passed and check.ran is not None and site not in check.ran


def _showing(candidate: CandidateResult, site: Site) -> frozenset[Check]:
    """The checks of which one must be passed: under vmap, or a block's own."""
    if site.kind is not SiteKind.BLOCK:
        return _UNDER_VMAP
    made = {check.check for check in candidate.checks}
    return frozenset({Check.EVAL_MODE if Check.EVAL_MODE in made else Check.RESTORED})


def _shows(check: CheckResult, site: Site, candidate: CandidateResult) -> bool:
    """Whether a check was passed in which a site's norms ran under vmap as in training."""
    return (
        check.check in _showing(candidate, site)
        and check.outcome is Outcome.PASSED
        and (check.ran is None or site in check.ran)
    )


def _failures(candidate: CandidateResult, site: Site) -> list[CheckResult]:
    """The failed checks that say something of a site: not those put down to other sites' norms.

    What an error ended that is not a norm's own fault says that none of them was seen to the end.
    """
    return [
        check
        for check in candidate.checks
        if check.outcome is Outcome.FAILED
        and (not check.sites or site in check.sites or check.cause not in NORM_CAUSES)
    ]


def _passed(candidate: CandidateResult, site: Site) -> set[Check]:
    """The checks that a site passes; the norms of others that fail are left out of them."""
    failed = {check.check for check in _failures(candidate, site)}
    held = {check.check for check in candidate.checks if _holds_elsewhere(check)}
    shown = {check.check for check in candidate.checks if _shows(check, site, candidate)}
    return held - failed - (_UNDER_VMAP - shown)


def _unfinished(candidates: Iterable[CandidateResult]) -> set[Check]:
    """The checks that were begun and took too much."""
    checks = (check for candidate in candidates for check in candidate.checks)
    return {each.check for each in checks if each.cause in SPENT}


def _holds_elsewhere(check: CheckResult) -> bool:
    """Whether a result speaks for the sites that it does not blame.

    Norms that fail for their statistics end a run: the others are seen in a second one, whose
    result is beside this one.
    """
    if check.outcome is Outcome.FAILED:
        return check.cause is not Cause.RUNNING_STATS
    return check.outcome is Outcome.PASSED


def judge(
    sites: Iterable[Site],
    modules: Mapping[str, ModuleResult],
    candidates: Iterable[CandidateResult],
    device: str,
    reasons: Mapping[Site, str] = MappingProxyType({}),
) -> tuple[SiteResult, ...]:
    """The verdict on each site.

    A norm at fault in any candidate fails the site; else a candidate that passes all its checks
    verifies it; else what stood in the way is what it failed with. ``reasons`` say why sites were
    not reached, where a worker knows.
    """
    candidates = list(candidates)
    reaching: dict[Site, list[CandidateResult]] = defaultdict(list)
    for candidate in candidates:
        for site in candidate.sites:
            reaching[site].append(candidate)
    return tuple(
        dataclasses.replace(
            _judged(site, reaching[site], modules, candidates, reasons), device=device
        )
        for site in sites
    )


def _judged(
    site: Site,
    reaching: list[CandidateResult],
    modules: Mapping[str, ModuleResult],
    candidates: list[CandidateResult],
    reasons: Mapping[Site, str],
) -> SiteResult:
    failures = [(c, failure) for c in reaching for failure in _failures(c, site)]
    verifying = [candidate for candidate in reaching if site in cleared(candidate)]
    passed_in = verifying[0].name if verifying else ""
    for candidate, failure in failures:
        if failure.cause in NORM_CAUSES:
            shown = failure if failure.cause in _DAMAGE else _named(_failures(candidate, site))
            return _fails(site, candidate, shown or failure, passed_in)
    blamed = _blamed_by_line(site, candidates)
    if blamed is not None:
        return _fails(site, *blamed, passed_in)
    if all(candidate.is_part for candidate in verifying):  # then a model that fails counts too
        left = [(c, f) for c, f in failures if not (verifying and (c.is_part or f.cause in SPENT))]
        if left:
            named = _named(failure for _, failure in left)
            return _fails(site, *next((f for f in left if f[1] is named), left[0]), passed_in)
    if verifying:
        return _verified(site, verifying)
    if reaching:
        return SiteResult(site, Verdict.NOT_REACHED, reason=_unchecked(reaching[0], site))
    why = reasons.get(site) or _why_not(site, modules, candidates)
    return SiteResult(site, Verdict.NOT_REACHED, reason=why)


def _verified(site: Site, candidates: list[CandidateResult]) -> SiteResult:
    passed = set().union(*(_passed(candidate, site) for candidate in candidates))
    best = min(candidates, key=lambda each: (bool(_failing_elsewhere(each)), bool(each.parts)))
    return SiteResult(
        site,
        Verdict.VERIFIED,
        checks=_as_listed(passed),
        candidate=best.name,
        failed_elsewhere=_failing_elsewhere(best),
        parts=best.parts,
        unfinished=_as_listed(_unfinished(candidates) - passed),
        guessed=all(candidate.guessed for candidate in candidates),
    )


def _as_listed(checks: set[Check]) -> tuple[Check, ...]:
    """Checks in the order in which they are made."""
    return tuple(check for check in Check if check in checks)


def hanging_on_guesses(
    results: Iterable[SiteResult], candidates: Iterable[CandidateResult]
) -> dict[tuple[str, str], frozenset[Site]]:
    """The verified sites of whose norms other inputs than the guessed ones may leave nothing.

    They go by the file and the name of the candidate that was fed by guess.
    """
    candidates = list(candidates)
    sure = {s for each in candidates for s in cleared(each) if s not in each.unsure}
    verified = {result.site for result in results if result.verdict is Verdict.VERIFIED}
    found: dict[tuple[str, str], frozenset[Site]] = defaultdict(frozenset)
    for each in candidates:
        if doubted := verified.intersection(each.unsure) - sure:
            name = re.split(r"[ (]", each.name)[0]  # without how it is built
            found[each.path, name] |= doubted
    return found


def _named(failures: Iterable[CheckResult]) -> CheckResult | None:
    """The failure that says most: its cause and the user's line are known, and it is vmap's."""
    for failure in failures:
        if failure.check in _UNDER_VMAP and failure.cause not in (None, Cause.OTHER):
            if failure.line:
                return failure
    return None


def _fails(
    site: Site, candidate: CandidateResult, failure: CheckResult, passed_in: str = ""
) -> SiteResult:
    return SiteResult(
        site, Verdict.FAILED, candidate=candidate.name, failure=failure, passed_in=passed_in
    )


def _blamed_by_line(
    site: Site, candidates: list[CandidateResult]
) -> tuple[CandidateResult, CheckResult] | None:
    """The failure that names a line of the site: a functional norm builds no module."""
    for candidate in candidates:
        for check in candidate.checks:
            if (
                check.outcome is Outcome.FAILED
                and check.cause is Cause.RUNNING_STATS
                and check.line
            ):
                if site.line <= check.line <= site.end_line and _same(check.path, site.path):
                    return candidate, check
    return None


def _failing_elsewhere(candidate: CandidateResult) -> tuple[str, ...]:
    """Where the norms stand for whose running statistics a model still fails under vmap."""
    found = {
        place
        for check in candidate.checks
        if check.cause is Cause.RUNNING_STATS and check.outcome is Outcome.FAILED
        for place in (f"{site.path}:{site.line}" for site in check.sites)
    }
    found.update(place for check in candidate.checks for place in check.elsewhere)
    return tuple(sorted(found))


def _unchecked(candidate: CandidateResult, site: Site) -> str:
    """Why a candidate does not decide on a site that it reaches."""
    if site in candidate.idle:
        return (
            f"{candidate.name} was built and run, but a norm of this line did not run that keeps"
            " running statistics, or that is of another class than those that did"
        )
    if candidate.checks and not _showing(candidate, site) & {
        check.check for check in candidate.checks
    }:
        passed = [c.check.value for c in candidate.checks if c.outcome is Outcome.PASSED]
        others = f"; passed in {candidate.name}: {', '.join(passed)}" if passed else ""
        return f"{NOT_CHOSEN}{others}"
    compared = [check for check in candidate.checks if check.check in _COMPARING]
    skipped = _not_compared(candidate)
    if skipped is None and all(check.outcome is Outcome.SKIPPED for check in compared):
        skipped = next(iter(compared), None)
    if skipped is not None:
        return f"{candidate.name} was built, but not compared: {skipped.message}"
    ran = [c for c in candidate.checks if c.check in _UNDER_VMAP and c.outcome is Outcome.PASSED]
    if ran:
        return f"{candidate.name} passes, but this line's norm did not run in it in train mode"
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
                if candidate.error.startswith(name):  # which it speaks of
                    return candidate.error
                if candidate.error:
                    return f"{name} was not built: {candidate.error}"
                if candidate.built is not None:
                    return f"{name} was built and run, but this line made no norm that ran"
    if module is not None and module.notes:
        return module.notes[-1]
    if site.code in _REGISTRIES and site.kind is SiteKind.VALUE:
        return REGISTRY
    if not parts:
        for candidate in candidates:  # a model that is built where the site stands
            if _same(candidate.path, site.path) and candidate.line == site.line and candidate.error:
                return candidate.error
        return "nothing that could be built from the module uses it"
    return f"{site.owner} was not built on its own, and nothing that was built uses it"


def _same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)
