"""Blocks that put models into eval mode: run, where a call of what holds them can be made."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import ModuleType

import torch

from bncodemod.verify import modes
from bncodemod.verify.arguments import Arguments
from bncodemod.verify.block_calls import Call, Function, Models, calls, function_of
from bncodemod.verify.causes import explain
from bncodemod.verify.model import (
    Built,
    CandidateResult,
    Cause,
    Check,
    CheckResult,
    Event,
    Job,
    Outcome,
    Site,
    SiteKind,
    Started,
    Unreached,
)
from bncodemod.verify.modes import Block
from bncodemod.verify.offline import offline
from bncodemod.verify.patched_models import GUARDED, example_of, guarded_lines
from bncodemod.verify.refusal import in_a_line

_MOST_SECONDS = 20.0  # for one function, that is not given up at once
_RESTORE = "give each module back the mode that it was in: a plain model.train() does not"


def examine_blocks(
    job: Job, module: ModuleType, imported: Sequence[Block], emit: Callable[[Event], None]
) -> None:
    """Say what the blocks of a module did when it was imported, and call what holds the others.

    ``imported`` are the runs of the import, or of an earlier one by another module.
    """
    del modes.blocks[len(imported) :]  # what candidates have run
    waiting: dict[str, list[Site]] = {}
    guarded = guarded_lines(job.path) if _of(job) else set()
    for site in _of(job):
        function = function_of(site, module)
        runs = [block for block in imported if block.site == site]
        if any(map(_decides, runs)):
            emit(_result(job, f"the import of {job.name}", [site], runs, site.line))
        elif function is not None:
            waiting.setdefault(function.name, []).append(site)
        elif site.line in guarded:
            emit(Unreached(site, GUARDED))
        elif site.owner:
            emit(Unreached(site, f"{site.owner} cannot be called from outside"))
        else:
            emit(Unreached(site, _why(runs, "the import of the module does not run it")))
    models = Models(job, module)
    for name, sites in waiting.items():
        function = function_of(sites[0], module)
        if function is not None and name not in job.skip:
            _call(function, sites, module, models, job, emit)


def _of(job: Job) -> list[Site]:
    return [s for s in job.sites if s.kind is SiteKind.BLOCK and s not in job.done]


def _call(
    function: Function,
    sites: list[Site],
    module: ModuleType,
    models: Models,
    job: Job,
    emit: Callable[[Event], None],
) -> None:
    """Call a function in the likeliest ways until its blocks have run, or none is left."""
    begun, why, furthest = time.perf_counter(), "", -1
    missing = set(sites)
    emit(Started(function.name))  # what it takes too long for is not the block's fault
    for how, call in _ways(function, sites, module, models, job):
        if not missing or time.perf_counter() - begun > _MOST_SECONDS:
            break
        runs, said = _made(call, job)
        decided = [s for s in sites if any(_decides(r) for r in runs if r.site == s)]
        if (ran := sum(block.ran for block in runs)) > furthest:
            why, furthest = said or _why(runs, "its call does not run this line"), ran
        if missing.intersection(decided):
            seconds = time.perf_counter() - begun
            emit(_result(job, function.name, decided, runs, function.line, how, call.text, seconds))
            missing -= set(decided)
    for site in missing:
        reason = f"did not show it: {why or 'no model was found to call it with'}; an example may"
        if not function.takes_anything and not why:
            reason = "takes no model: it is called only if an example names it"
        example = example_of(function.name, function.parameters())
        emit(Unreached(site, f"{function.name} {reason} ({example})"))


def _ways(
    function: Function, sites: list[Site], module: ModuleType, models: Models, job: Job
) -> Iterator[tuple[Built, Call]]:
    said = [example for example in job.examples if example.name == function.name]
    for example in said:
        arguments = Arguments.written(example.arguments, module)
        text = f"{function.name}({arguments.text})"
        yield Built.EXAMPLE, Call(text, partial(arguments.call, function.target))
    if not said and function.takes_anything:
        for name, prepared in models:
            for call in calls(function, sites, name, prepared, job):
                yield Built.DEDUCED, call


def _made(call: Call, job: Job) -> tuple[list[Block], str]:
    """The blocks that a call runs, and what it ended in, if that was an error."""
    before = len(modes.blocks)
    said = ""
    try:
        with offline(), torch.device(job.device):
            call.make()
    except (Exception, SystemExit) as error:
        said = f"{call.text} raised {in_a_line(error)}"
    runs = modes.blocks[before:]
    del modes.blocks[before:]
    return runs, said


def _decides(block: Block) -> bool:
    """Whether a run of a block says that it is right, or that it is wrong."""
    return bool(_fault(block)) or (block.transformed > 0 and block.error is None)


def _fault(block: Block) -> bool:
    return bool(block.training or block.unrestored) or _is_for_statistics(block.error)


def _is_for_statistics(error: BaseException | None) -> bool:
    return error is not None and explain(error, ()).cause is Cause.RUNNING_STATS


def _why(runs: Sequence[Block], otherwise: str) -> str:
    if not runs:
        return otherwise
    for block in runs:
        if block.error is not None:
            return in_a_line(block.error)
        if block.stopped is not None:
            return f"a transform in it raised, and the code goes on: {in_a_line(block.stopped)}"
    if any(block.ran for block in runs):
        return "norms run in the block, but under no transform"
    return "no norm runs in the block"


def _result(
    job: Job,
    name: str,
    sites: list[Site],
    runs: Sequence[Block],
    line: int = 0,
    how: Built | None = None,
    call: str = "",
    seconds: float = 0.0,
) -> CandidateResult:
    runs = [block for block in runs if block.site in sites and _decides(block)]
    makers = {Check.EVAL_MODE: _in_eval_mode, Check.RESTORED: _restored}
    checks = [make(runs, job) for which, make in makers.items() if which in job.checks]
    return CandidateResult(
        job.path, name, line, how, call, sites=tuple(sites), checks=tuple(checks), seconds=seconds
    )


def _in_eval_mode(runs: Sequence[Block], job: Job) -> CheckResult:
    for block in runs:
        site = block.site
        if block.training:
            return CheckResult(
                Check.EVAL_MODE,
                Outcome.FAILED,
                f"{block.training} runs in train mode in the block",
                Cause.TRAIN_MODE,
                "put all of the model into eval mode, and not back before it has run",
                site.path,
                site.line,
                sites=(site,),
            )
        if block.error is not None and _is_for_statistics(block.error):
            found = explain(block.error, (job.root, *job.folders))
            return CheckResult(
                Check.EVAL_MODE,
                Outcome.FAILED,
                found.message,
                found.cause,
                "put the model that runs into eval mode",
                found.path,
                found.line,
                found.trace,
                sites=(site,),
            )
    return CheckResult(Check.EVAL_MODE, Outcome.PASSED)


def _restored(runs: Sequence[Block], job: Job) -> CheckResult:
    for block in runs:
        if block.unrestored:
            site = block.site
            return CheckResult(
                Check.RESTORED,
                Outcome.FAILED,
                block.unrestored,
                Cause.MODE,
                _RESTORE,
                site.path,
                site.line,
                sites=(site,),
            )
    return CheckResult(Check.RESTORED, Outcome.PASSED)
