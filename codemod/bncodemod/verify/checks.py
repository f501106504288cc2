"""The checks, each on a copy of the model of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from bncodemod.verify import calling
from bncodemod.verify.assignments import Assigned, assignments
from bncodemod.verify.blame import Lenient
from bncodemod.verify.calling import Outputs
from bncodemod.verify.causes import explain
from bncodemod.verify.comparing import difference
from bncodemod.verify.double import in_float64
from bncodemod.verify.model import Cause, Check, CheckResult, Outcome, in_order
from bncodemod.verify.randomness import Drawn, as_users_run, is_random
from bncodemod.verify.reproducible import states_of_others
from bncodemod.verify.strided import FLATTEN, flattening_gradients
from bncodemod.verify.subject import STACK, Subject, varied

Checker = Callable[[Subject], CheckResult]
CHECKS: dict[Check, Checker] = {}  # filled by the modules of checks, in any order


NO_BATCH = "the example says that its inputs have no batch"
_SAY_NO_BATCH = "if no axis of the example's inputs is that of a batch, say so in it: batch = false"


class Skipped(Exception):
    """A check does not apply; says why."""


def check(which: Check) -> Callable[[Checker], Checker]:
    """Register a check."""

    def register(function: Checker) -> Checker:
        CHECKS[which] = function
        return function

    return register


def run_check(which: Check, subject: Subject) -> list[CheckResult]:
    """Run one check.

    A second result says how the model fares without the norms at fault, and remarks follow, as on
    what vmap is to be told of random numbers.
    """
    start, remarked = time.perf_counter(), len(subject.remarks)
    first = _attempt(which, subject)
    results = [replace(first, seconds=time.perf_counter() - start)]
    if first.cause is Cause.RUNNING_STATS and first.outcome is Outcome.FAILED:
        start = time.perf_counter()
        subject.was_used = False
        with Lenient(subject.recorder) as lenient:
            second = _attempt(which, subject)
        subject.mapped = None  # without what makes it fail
        results = _blamed(results[0], replace(second, seconds=time.perf_counter() - start), lenient)
    return [*results, *(replace(each, check=which) for each in subject.remarks[remarked:])]


def _blamed(first: CheckResult, second: CheckResult, lenient: Lenient) -> list[CheckResult]:
    """Put a failure down to the norms that failed, now that the others are known."""
    seconds = first.seconds + second.seconds
    elsewhere = tuple(sorted(lenient.elsewhere))
    if at_fault := lenient.sites or set(first.sites):
        first = replace(first, sites=in_order(at_fault), elsewhere=elsewhere)
        return [first, second]
    if not lenient.elsewhere:
        return [replace(first, seconds=seconds)]
    if second.outcome is Outcome.PASSED:
        second = replace(
            second,
            elsewhere=elsewhere,
            message="passes with the running statistics of other norms off: "
            + ", ".join(elsewhere),
            remedy="rewrite these norms too, or give the model others",
        )
    return [replace(second, seconds=seconds)]


def _attempt(which: Check, subject: Subject) -> CheckResult:
    try:
        with subject.recorder.transformed() as ran:
            result = CHECKS[which](subject)
        return replace(result, ran=in_order(ran))
    except (Skipped, calling.NoFloats) as reason:
        return CheckResult(which, Outcome.SKIPPED, str(reason))
    except Exception as error:
        return failure(which, error, subject)


def failure(which: Check, error: BaseException, subject: Subject) -> CheckResult:
    """What an exception says about a check."""
    cause = explain(error, subject.roots)
    return CheckResult(
        which,
        Outcome.FAILED,
        cause.message,
        cause.cause,
        cause.remedy or (_SAY_NO_BATCH if subject.prepared.inputs.is_mixed else ""),
        cause.path,
        cause.line,
        trace=cause.trace,
        sites=cause.sites,
    )


@check(Check.META_VMAP)
def _meta_vmap(subject: Subject) -> CheckResult:
    device = subject.built_on
    if device.type != "meta":
        raise Skipped("its constructor asks for values, so it is built on the CPU")
    try:
        subject.mapped = run_under_vmap(subject)
    except Exception as error:
        if (found := explain(error, subject.roots)).cause is Cause.RUNNING_STATS:
            raise
        raise Skipped(f"vmap on the meta device: {found.message}") from error
    return CheckResult(Check.META_VMAP, Outcome.PASSED)


def run_under_vmap(subject: Subject) -> tuple[nn.Module, Assigned]:
    """A model that has run under vmap where it was built, and what was assigned to meanwhile."""
    device = subject.built_on
    context: AbstractContextManager[object] = device if device.type == "meta" else nullcontext()
    inputs, seed = subject.feed(stack=STACK, device=device), subject.job.seed

    def run(how: str, module: nn.Module) -> tuple[nn.Module, Assigned]:
        with assignments(module, subject.roots) as places:
            calling.vmapped(module, inputs, seed, how)
        return module, places

    with torch.no_grad(), context:
        mapped, drawn = as_users_run(run, subject.built, subject.roots)
    if drawn is not None:
        subject.tell(drawn)
    return mapped


def _with_random_layers(subject: Subject) -> None:
    """Raise what vmap fails with if no layer is off: once, unless that was shown on meta."""
    if subject.mapped is not None or subject.was_used:
        return
    subject.was_used = True
    inputs, seed = subject.feed(stack=STACK), subject.job.seed
    with torch.no_grad():
        _, drawn = as_users_run(
            lambda how, module: calling.vmapped(module, inputs, seed, how),
            subject.used,
            subject.roots,
        )
    if drawn is not None:
        subject.tell(drawn)


@check(Check.FORWARD)
def _forward(subject: Subject) -> CheckResult:
    module = subject.fresh()
    before = states_of_others()
    with torch.no_grad():
        answers = calling.run(module, subject.feed())
    if drawn := [name for name, state in states_of_others().items() if state != before.get(name)]:
        subject.remarks.append(_drawn_by(drawn))
    if not answers:
        return CheckResult(Check.FORWARD, Outcome.NOTED, "the answer has no tensor")
    if not all(answer.isfinite().all() for answer in answers if answer.is_floating_point()):
        subject.note("some numbers of the answer are not finite")
    return CheckResult(Check.FORWARD, Outcome.PASSED)


def _drawn_by(names: list[str]) -> CheckResult:
    """What there is to say of numbers that vmap does not know to be random."""
    message = f"random numbers of {', '.join(names)} are drawn: under vmap, one draw serves all"
    remedy = "use torch's in place of random's and NumPy's, of which vmap draws one for all"
    return CheckResult(Check.FORWARD, Outcome.NOTED, message, Cause.RANDOMNESS, remedy)


@check(Check.VMAP)
def _vmap(subject: Subject) -> CheckResult:
    return equal(Check.VMAP, subject, lambda dtype, how: _over_batches(subject, dtype, how))


@check(Check.EVAL)
def _eval(subject: Subject) -> CheckResult:
    return equal(
        Check.EVAL, subject, lambda dtype, how: _over_batches(subject, dtype, how, train=False)
    )


def _over_batches(
    subject: Subject, dtype: torch.dtype, how: str, train: bool = True
) -> tuple[Outputs, Sequence[Outputs]]:
    def fresh() -> nn.Module:
        module = subject.fresh(dtype)
        if not train:
            module.eval()
        return module

    inputs, seed = subject.feed(stack=STACK, dtype=dtype), subject.job.seed
    with torch.no_grad():
        answers = calling.vmapped(fresh(), inputs, seed, how)
        return answers, calling.looped(fresh, inputs, seed)


@check(Check.GRAD)
def _grad(subject: Subject) -> CheckResult:
    model = subject.kept()
    wanting = sum(p.requires_grad for p in model.parameters())
    if not wanting:
        raise Skipped("no parameter wants a gradient")
    if (chosen := len(calling.smallest(model))) < wanting:
        subject.note(f"gradients were taken of the {chosen} smallest of {wanting} parameters")
    if (multiple := subject.prepared.inputs.multiple) > 1:
        return _gradients(subject, samples=multiple)
    try:
        return _gradients(subject, samples=1)
    except Exception as error:
        if explain(error, subject.roots).cause is not Cause.SINGLE_SAMPLE:
            raise
    result = _gradients(subject, samples=2)
    if result.outcome is Outcome.PASSED:
        words = "for pairs of samples: a single one leaves a norm one value"
        subject.note(f"gradients were taken {words}")
        return replace(result, message=f"{result.message}, taken {words}".lstrip(", "))
    return result


def _gradients(subject: Subject, samples: int) -> CheckResult:
    def run(
        dtype: torch.dtype, how: str, *, flat: bool = False
    ) -> tuple[Outputs, Iterable[Outputs]]:
        def fresh() -> nn.Module:
            model = subject.fresh(dtype)
            return flattening_gradients(model) if flat else model

        inputs, seed = subject.feed(batch=samples, stack=STACK, dtype=dtype), subject.job.seed
        answers = calling.vmapped_gradients(fresh(), inputs, seed, how)
        _refuse_nothing(answers)
        return answers, calling.looped_gradients(fresh, inputs, seed)

    # Rounding in float32 grows so much on the way back through many norms that nearly every deep
    # model would be run in both.
    _with_random_layers(subject)
    if _in_float64(run, "error") == "":
        return CheckResult(Check.GRAD, Outcome.PASSED, "compared in float64")
    result = equal(Check.GRAD, subject, run)
    if result.cause is Cause.DIFFERS and _in_float64(partial(run, flat=True), "error") == "":
        message = (
            "vmap gives batch norms another gradient than the loop where it comes back strided"
        )
        return replace(result, message=message, cause=Cause.STRIDED, remedy=FLATTEN)
    return result


@check(Check.ENSEMBLE)
def _ensemble(subject: Subject) -> CheckResult:
    if next(subject.kept().parameters(), None) is None:
        raise Skipped("it has no parameters to stack")

    def run(dtype: torch.dtype, how: str) -> tuple[Outputs, Sequence[Outputs]]:
        models = [varied(subject.fresh(dtype=dtype), seed) for seed in range(STACK)]
        inputs, seed = subject.feed(dtype=dtype), subject.job.seed
        with torch.no_grad():
            answers = calling.vmapped_ensemble(models, inputs, seed, how)
            return answers, calling.looped_ensemble(models, inputs, seed)

    return equal(Check.ENSEMBLE, subject, run)


@check(Check.SINGLE)
def _single(subject: Subject) -> CheckResult:
    if not subject.prepared.inputs.has_batch:
        raise Skipped(NO_BATCH)
    results = [_single_sample(subject, train) for train in (True, False)]
    noted = [result for result in results if result.outcome is not Outcome.PASSED]
    return noted[-1] if noted else results[0]


def _single_sample(subject: Subject, train: bool) -> CheckResult:
    try:
        with torch.no_grad():
            module = subject.fresh()
            module.train(train)
            calling.run(module, subject.feed(batch=1))
    except Exception as error:
        found = failure(Check.SINGLE, error, subject)
        message = f"in {'train' if train else 'eval'} mode: {found.message}"
        return replace(found, outcome=Outcome.NOTED, message=message)
    return CheckResult(Check.SINGLE, Outcome.PASSED)


def equal(
    which: Check,
    subject: Subject,
    run: Callable[[torch.dtype, str], tuple[Outputs, Iterable[Outputs]]],
) -> CheckResult:
    """Whether both ways of running give the same: in the model's own precision, else in float64."""
    if which is not Check.EVAL:
        _with_random_layers(subject)
    own = subject.prepared.inputs.own_dtype
    how, answers, loop = with_randomness(subject, lambda how: (how, *run(own, how)))
    _refuse_nothing(answers)
    words = difference(answers, loop)
    exact = _in_float64(run, how) if words else ""
    if words and exact == "":
        return CheckResult(
            which, Outcome.PASSED, f"equal in float64; rounding in {_of(own)}: {words}"
        )
    if words and exact is None and not difference(*run(own, how), is_final=True):
        return CheckResult(which, Outcome.PASSED, f"equal but for rounding in {_of(own)}: {words}")
    if not words:
        return CheckResult(which, Outcome.PASSED)
    if how != "error":
        message = f"forward draws random numbers, and vmap's are not those of the loop: {words}"
        return CheckResult(which, Outcome.FAILED, message, Cause.RANDOMNESS)
    return CheckResult(
        which,
        Outcome.FAILED,
        f"vmap gives another answer than the loop: {exact or words}",
        Cause.DIFFERS,
        "look for what depends on the shape or identity of tensors, or on global state",
    )


def _refuse_nothing(answers: Outputs) -> None:
    """Raise Skipped where whatever was computed, the answer would be the same."""
    if not answers:
        raise Skipped("the answer has no tensor to compare")
    if not any(answer.isfinite().any() for answer in answers):
        raise Skipped(
            "the answer has no finite number to compare: give an example whose inputs have values"
            " that it answers (inputs, as Python)"
        )


def _of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _in_float64(
    run: Callable[[torch.dtype, str], tuple[Outputs, Iterable[Outputs]]], how: str
) -> str | None:
    """How the answers differ in float64; None if the model does not run in it."""
    try:
        with in_float64():
            return difference(*run(torch.float64, how))
    except Exception:
        return None


def with_randomness(subject: Subject, run: Callable[[str], calling.T]) -> calling.T:
    """Run with vmap's default, which refuses to draw random numbers; if it must, the same for all.

    Whatever the loop draws, it starts from the same seed each time.
    """
    try:
        return run("error")
    except Exception as error:
        place = is_random(error, subject.roots)
        if place is None:
            raise
    answer = run("same")
    subject.tell(Drawn(place, "same"))
    return answer
