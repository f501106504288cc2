"""A verification with one of everything, for the tests of its reports."""

from __future__ import annotations

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
    Timing,
    Verdict,
    Verification,
)


def site(path: str, line: int, text: str, kind: SiteKind = SiteKind.CALL, code: str = "") -> Site:
    return Site(path, line, 9, line, 9 + len(text), kind, text, code, True, "Net.__init__")


GOOD = site("models/net.py", 7, "nn.BatchNorm2d(8, track_running_stats=False)", code="BN101")
STATS = site("models/net.py", 9, "nn.BatchNorm2d(8)", code="BN101")
STATS_TOO = site("models/net.py", 10, "norm", SiteKind.VALUE, "BN102")
ITEM = site("models/net.py", 12, "nn.GroupNorm(1, 8)")
UNBUILT = site("models/plan.py", 3, "nn.GroupNorm(1, 8)")
ON_A_GPU = site("models/plan.py", 4, "nn.BatchNorm2d(4).cuda()")
CONFIG = site("models/plan.py", 5, "dict(type='BN')", SiteKind.VALUE, "BN108")
MISSING = site("models/old.py", 2, "nn.GroupNorm(1, 8)")

REFUSED = CheckResult(
    Check.META_VMAP,
    Outcome.FAILED,
    "RuntimeError: Batch norm got a batched tensor as input",
    Cause.RUNNING_STATS,
    "pass track_running_stats=False where the norm is built, or use GroupNorm",
    "models/net.py",
    20,
    "Traceback:\n  in forward\nRuntimeError: Batch norm got",
    0.25,
    (STATS, STATS_TOO),
)
NOT_ONE_NUMBER = CheckResult(
    Check.VMAP,
    Outcome.FAILED,
    "RuntimeError: vmap: It looks like you're calling .item() on a Tensor",
    Cause.ITEM,
    "keep the value a tensor",
    "models/loss.py",
    4,
    "Traceback",
    0.5,
)
PASSED = (
    CheckResult(Check.VMAP, Outcome.PASSED, seconds=0.5),
    CheckResult(Check.EVAL, Outcome.PASSED),
)
DRAWN = CheckResult(
    Check.META_VMAP,
    Outcome.NOTED,
    "random numbers are drawn, which runs with randomness='different'",
    Cause.RANDOMNESS,
    "call vmap with randomness='different'",
    "models/net.py",
    31,
)
ALIKE = CheckResult(
    Check.CONSTANT, Outcome.NOTED, "the answer is the same for every sample", Cause.CONSTANT
)
NOTED = CheckResult(Check.STATE_DICT, Outcome.NOTED, "3 keys lost (running_mean, …)", seconds=0.125)

VERIFICATION = Verification(
    sites=(
        SiteResult(GOOD, Verdict.VERIFIED, "cpu", (Check.VMAP, Check.EVAL), "Net", guessed=True),
        SiteResult(STATS, Verdict.FAILED, "cpu", candidate="Net", failure=REFUSED),
        SiteResult(STATS_TOO, Verdict.FAILED, "cpu", candidate="Net", failure=REFUSED),
        SiteResult(ITEM, Verdict.FAILED, "cpu", candidate="Loss", failure=NOT_ONE_NUMBER),
        SiteResult(
            MISSING,
            Verdict.NOT_REACHED,
            "cpu",
            reason="the module could not be imported: No module named 'apex'",
        ),
        SiteResult(UNBUILT, Verdict.NOT_REACHED, "cpu", reason="Plan was not built: no depth"),
        SiteResult(
            ON_A_GPU,
            Verdict.NOT_REACHED,
            "cpu",
            reason="Plan() failed: AssertionError: Torch not compiled with CUDA enabled",
        ),
        SiteResult(
            CONFIG,
            Verdict.NOT_REACHED,
            "cpu",
            reason="a configuration that only the library reads which it is written for",
        ),
    ),
    modules=(
        ModuleResult("models/net.py", output="hello", seconds=0.5, notes=("it forked",)),
        ModuleResult(
            "models/old.py",
            "ModuleNotFoundError: No module named 'apex'",
            "install apex where the verifier runs, or leave the file out with --exclude",
            "Traceback",
            "hi\nthere",
        ),
        ModuleResult("models/plan.py", seconds=0.25),
    ),
    candidates=(
        CandidateResult(
            "models/net.py",
            "Net",
            5,
            Built.NO_ARGUMENTS,
            "Net()",
            "(N, 3, 32, 32)",
            (GOOD, STATS, STATS_TOO),
            (REFUSED, *PASSED, NOTED, DRAWN, ALIKE),
            (Timing("vmap", 8, 12.5, 2.5), Timing("ensemble", 32, 100.0, 12.0)),
            ("dropout was switched off to compare",),
            seconds=2.0,
        ),
        CandidateResult("models/plan.py", "Plan", 1, error="no depth", trace="Traceback"),
    ),
    device="cuda:0 (NVIDIA H200)",
    versions={"torch": "2.13.0", "python": "3.12.1", "cuda": "13.0"},
    seconds={"find": 0.5, "start": 2.0, "examine": 4.0},
    tolerance={"float32": 1e-4, "float64": 1e-9, "bfloat16": 0.05},
)
