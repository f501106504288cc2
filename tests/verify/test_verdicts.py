"""The verdict on a site, from what candidates showed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bncodemod.verify.model import (
    Built,
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
from bncodemod.verify.verdicts import cleared, judge

HERE = Site("/a.py", 4, 5, 4, 20, SiteKind.CALL, "norm(8)", "BN101", owner="Net.__init__")
OTHER = Site("/a.py", 9, 5, 9, 20, SiteKind.CALL, "norm(9)", "BN101", owner="Other.__init__")


def check(which: Check, cause: Cause | None = None, *sites: Site, line: int = 0) -> CheckResult:
    outcome = Outcome.FAILED if cause else Outcome.PASSED
    return CheckResult(which, outcome, "said", cause, path="/a.py", line=line, sites=sites)


def candidate(
    name: str, *checks: CheckResult, sites: tuple[Site, ...] = (HERE,)
) -> CandidateResult:
    return CandidateResult("/a.py", name, 1, Built.NO_ARGUMENTS, sites=sites, checks=checks)


PASSES = candidate("Good", check(Check.VMAP), check(Check.EVAL))
UNLUCKY = candidate("Unlucky", check(Check.EVAL), check(Check.VMAP, Cause.ITEM))
NORM_FAILS = candidate("Bad", check(Check.VMAP, Cause.DIFFERS))
BLAMES_OTHER = candidate(
    "Mixed",
    check(Check.META_VMAP, Cause.RUNNING_STATS, OTHER),
    check(Check.META_VMAP),  # without the norms at fault
    check(Check.EVAL),
    sites=(HERE, OTHER),
)
NOT_TRIED_AGAIN = replace(
    BLAMES_OTHER,
    checks=(
        BLAMES_OTHER.checks[0],
        CheckResult(Check.META_VMAP, Outcome.SKIPPED, "no rule for it"),
        check(Check.EVAL),
    ),
)


NOT_MAPPED = candidate(
    "Idle", CheckResult(Check.VMAP, Outcome.SKIPPED, "no time was left"), check(Check.EVAL)
)
EVAL_ALONE = candidate("Selected", check(Check.EVAL))


def verdict(*candidates: CandidateResult, site: Site = HERE, module: str = "") -> SiteResult:
    modules = {"/a.py": ModuleResult("/a.py", module)}
    return judge([site], modules, candidates, "cpu")[0]


@pytest.mark.parametrize(
    ("candidates", "expected", "by"),
    [
        ((PASSES,), Verdict.VERIFIED, "Good"),
        ((UNLUCKY,), Verdict.FAILED, "Unlucky"),
        ((UNLUCKY, PASSES), Verdict.VERIFIED, "Good"),
        ((PASSES, NORM_FAILS), Verdict.FAILED, "Bad"),
        ((BLAMES_OTHER,), Verdict.VERIFIED, "Mixed"),
        ((NOT_TRIED_AGAIN,), Verdict.NOT_REACHED, ""),
        ((candidate("Elsewhere", sites=(OTHER,)),), Verdict.NOT_REACHED, ""),
        ((candidate("Unchecked"),), Verdict.NOT_REACHED, ""),
    ],
)
def test_verdict(candidates: tuple[CandidateResult, ...], expected: Verdict, by: str) -> None:
    found = verdict(*candidates)
    assert (found.verdict, found.candidate, found.device) == (expected, by, "cpu")


@pytest.mark.parametrize(
    ("checks", "shown"),
    [
        ([check(Check.BUFFERS, Cause.LEAK), check(Check.VMAP, Cause.ITEM, line=7)], Cause.ITEM),
        ([check(Check.BUFFERS, Cause.LEAK), check(Check.VMAP, Cause.ITEM)], Cause.LEAK),
        ([check(Check.BUFFERS, Cause.LEAK), check(Check.VMAP, Cause.OTHER, line=7)], Cause.LEAK),
        ([check(Check.EVAL, Cause.OTHER), check(Check.VMAP, Cause.ITEM, line=7)], Cause.ITEM),
        (
            [check(Check.VMAP, Cause.ITEM, line=7), check(Check.BIT_IDENTICAL, Cause.CHANGED)],
            Cause.CHANGED,
        ),
    ],
)
def test_a_cause_with_a_line_is_what_is_said(checks: list[CheckResult], shown: Cause) -> None:
    failure = verdict(candidate("Net", *checks)).failure
    assert failure is not None
    assert failure.cause is shown


def test_a_failure_does_not_hide_what_passes() -> None:
    assert verdict(PASSES, NORM_FAILS).passed_in == "Good"
    assert verdict(NORM_FAILS).passed_in == ""


def test_the_checks_that_passed_are_those_of_all_that_verify_it() -> None:
    more = candidate("More", check(Check.GRAD))
    assert verdict(PASSES, more, UNLUCKY).checks == (Check.VMAP, Check.GRAD, Check.EVAL)
    assert verdict(BLAMES_OTHER).checks == (Check.META_VMAP, Check.EVAL)


def test_the_site_that_is_blamed_fails() -> None:
    found = verdict(BLAMES_OTHER, site=OTHER)
    assert (found.verdict, found.failure) == (Verdict.FAILED, BLAMES_OTHER.checks[0])
    assert set(cleared(BLAMES_OTHER)) == {HERE}


def test_a_failure_at_the_sites_own_line_fails_it() -> None:
    functional = candidate("F", check(Check.VMAP, Cause.RUNNING_STATS, line=4), sites=())
    assert verdict(functional).verdict is Verdict.FAILED
    elsewhere = candidate("F", check(Check.VMAP, Cause.RUNNING_STATS, line=5), sites=())
    assert verdict(elsewhere).verdict is Verdict.NOT_REACHED


def reason(*candidates: CandidateResult, site: Site = HERE, module: str = "") -> str:
    return verdict(*candidates, site=site, module=module).reason


def test_why_a_site_is_not_reached() -> None:
    refused = CandidateResult("/a.py", "Net", 1, error="no value for depth")
    idle = CandidateResult("/a.py", "Net", 1, Built.DEDUCED)
    top = Site("/a.py", 1, 1, 1, 9, SiteKind.VALUE, "norm")
    config = Site("/a.py", 1, 1, 1, 9, SiteKind.VALUE, "dict(type='BN')", "BN108")
    skipped = CheckResult(Check.VMAP, Outcome.SKIPPED, "it has no tensor")
    assert reason(module="boom") == "the module could not be imported: boom"
    assert reason(refused) == "Net was not built: no value for depth"
    unfed = replace(refused, error="Net does not run with (N, 3): no boxes")
    assert reason(unfed) == "Net does not run with (N, 3): no boxes"
    assert reason(idle) == "Net was built and run, but this line made no norm that ran"
    assert reason() == "Net.__init__ was not built on its own, and nothing that was built uses it"
    assert reason(site=top) == "nothing that could be built from the module uses it"
    at_the_top = CandidateResult("/a.py", "model", 1, error="model() gives what cannot be watched")
    assert reason(at_the_top, site=top) == "model() gives what cannot be watched"
    assert (
        reason(site=config) == "a configuration that only the library reads which it is written for"
    )
    assert reason(candidate("Net", skipped)) == "Net was built, but not compared: it has no tensor"


def test_what_never_ran_under_vmap_is_not_verified() -> None:
    assert list(cleared(NOT_MAPPED)) == []
    assert verdict(NOT_MAPPED).verdict is Verdict.NOT_REACHED
    assert list(cleared(EVAL_ALONE)) == []
    words = "none of the chosen checks runs it under vmap as in training; passed in Selected: eval"
    assert reason(EVAL_ALONE) == words


def test_a_check_verifies_only_what_ran_in_it() -> None:
    mapped = replace(check(Check.VMAP), ran=(OTHER,))
    both = candidate("Net", mapped, check(Check.EVAL), sites=(HERE, OTHER))
    assert list(cleared(both)) == [OTHER]
    assert reason(both) == "Net passes, but this line's norm did not run in it in train mode"


def test_a_norm_that_keeps_statistics_and_did_not_run_is_not_verified() -> None:
    found = verdict(replace(PASSES, idle=(HERE,)))
    assert found.verdict is Verdict.NOT_REACHED
    assert "a norm of this line did not run that keeps running statistics" in found.reason


def test_a_model_that_fails_elsewhere_says_so() -> None:
    assert verdict(BLAMES_OTHER).failed_elsewhere == ("/a.py:9",)
    unseen = replace(check(Check.VMAP), elsewhere=("BatchNorm2d built at /b.py:3",))
    assert verdict(candidate("Net", unseen)).failed_elsewhere == ("BatchNorm2d built at /b.py:3",)
    better = verdict(BLAMES_OTHER, PASSES)
    assert (better.candidate, better.failed_elsewhere) == ("Good", ())


def test_a_part_does_not_hide_what_the_model_fails_with() -> None:
    part = replace(PASSES, name="Block", is_part=True)
    failure = CheckResult(Check.VMAP, Outcome.FAILED, "item()", Cause.ITEM, trace="Traceback")
    found = verdict(part, candidate("Net", failure))
    assert (found.verdict, found.candidate, found.passed_in) == (Verdict.FAILED, "Net", "Block")
    assert verdict(PASSES, candidate("Net", failure)).verdict is Verdict.VERIFIED


def test_what_ends_a_run_leaves_no_norm_of_it_verified() -> None:
    """The norm at ``OTHER`` raised: nobody knows what the one at ``HERE`` would have done."""
    ended = CheckResult(Check.FORWARD, Outcome.FAILED, "mixed", Cause.OTHER, sites=(OTHER,))
    both = candidate("Net", ended, check(Check.META_VMAP), sites=(HERE, OTHER))
    assert list(cleared(both)) == []


def test_a_check_that_was_passed_without_the_norm_shows_nothing_of_it() -> None:
    caught = replace(check(Check.VMAP), ran=())
    assert list(cleared(candidate("Net", caught, check(Check.ENSEMBLE)))) == []


def test_what_could_not_be_compared_is_not_verified() -> None:
    skipped = CheckResult(Check.VMAP, Outcome.SKIPPED, "no tensor")
    built = candidate("Net", check(Check.META_VMAP), skipped)
    assert list(cleared(built)) == []
    assert reason(built) == "Net was built, but not compared: no tensor"


def test_checks_that_took_too_much_are_listed_in_their_order() -> None:
    left_out = (
        CheckResult(which, Outcome.SKIPPED, "it took too long", Cause.TIMEOUT)
        for which in (Check.ENSEMBLE, Check.SINGLE, Check.GRAD)
    )
    (result,) = judge([HERE], {}, [candidate("Good", check(Check.VMAP), *left_out)], "cpu")
    assert result.verdict is Verdict.VERIFIED
    assert result.unfinished == (Check.GRAD, Check.ENSEMBLE, Check.SINGLE)
