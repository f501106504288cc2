"""Checks of what norms do to their inputs: that something is left, and that samples stay apart."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from bncodemod.verify import calling
from bncodemod.verify.calling import Arguments, Outputs
from bncodemod.verify.checks import Skipped, check
from bncodemod.verify.comparing import differs
from bncodemod.verify.model import Cause, Check, CheckResult, Outcome, in_order
from bncodemod.verify.recorder import GROUP_NORMS, NormCall, NormCalls
from bncodemod.verify.reproducible import seed_all
from bncodemod.verify.subject import BATCH, Subject

_WHOLE_BATCH = "batch norm takes its statistics from the whole batch"
_SAME = 1e-3  # what samples that are one after the norm differ by, for rounding


@check(Check.CONSTANT)
def _constant(subject: Subject) -> CheckResult:
    _, calls = _watched(subject, subject.feed())
    subject.uses_batch = any(call.uses_batch for call in calls)
    if not calls:
        raise Skipped("no norm runs")
    dead = [call for call in calls if _is_constant(call)]
    at_fault = {site for call in dead for site in call.sites}
    if at_fault:
        return CheckResult(
            Check.CONSTANT,
            Outcome.FAILED,
            f"a norm gives the same for every sample: {_places(dead)}",
            Cause.CONSTANT,
            "give GroupNorm fewer groups: one channel to a group leaves nothing of a single value",
            sites=in_order(at_fault),
        )
    if dead:
        message = f"a norm built elsewhere gives the same for every sample: {_places(dead)}"
        return CheckResult(Check.CONSTANT, Outcome.NOTED, message, Cause.CONSTANT)
    if pairs := [call for call in calls if _group_size(call) == 2]:
        message = f"only the sign of a difference is left of two values: {_places(pairs)}"
        return CheckResult(Check.CONSTANT, Outcome.NOTED, message, Cause.CONSTANT)
    return CheckResult(Check.CONSTANT, Outcome.PASSED)


@check(Check.INDEPENDENCE)
def _independence(subject: Subject) -> CheckResult:
    if subject.uses_batch:
        raise Skipped(_WHOLE_BATCH)
    first = subject.feed()
    answers, calls = _watched(subject, first)
    if any(call.uses_batch for call in calls):
        raise Skipped(_WHOLE_BATCH)
    if not calls:
        raise Skipped("no norm runs")
    changed, others = _watched(subject, _with_other_samples(first, subject))
    if not _rows_differ(answers, changed):
        return CheckResult(Check.INDEPENDENCE, Outcome.PASSED)
    mixing = [
        call
        for call, other in zip(calls, others, strict=False)
        if not _rows(call.input)
        or (
            not _rows_differ([call.input], [other.input])
            and _rows_differ([call.answer], [other.answer])
        )
    ]
    if at_fault := {site for call in mixing for site in call.sites}:
        folded = any(_is_folded(call) for call in mixing)
        return CheckResult(
            Check.INDEPENDENCE,
            Outcome.FAILED,
            "the batch is folded into the channels of a norm"
            if folded
            else f"a norm mixes the samples of a batch: {_places(mixing)}",
            Cause.BATCH_FOLDED if folded else Cause.DEPENDENT,
            "keep the batch in the first axis of a norm's input",
            sites=in_order(at_fault),
        )
    message = "a sample's answer depends on the others of the batch, though not through a norm"
    return CheckResult(Check.INDEPENDENCE, Outcome.NOTED, message, Cause.DEPENDENT)


def _watched(subject: Subject, arguments: Arguments) -> tuple[Outputs, list[NormCall]]:
    module = subject.fresh()
    seed_all(subject.job.seed)
    with torch.no_grad(), NormCalls(subject.recorder) as calls:
        return calling.run(module, arguments), calls.seen


def _is_constant(call: NormCall) -> bool:
    """Whether samples that differ come out equal."""
    given, answer = call.input, call.answer
    if not given.dim() or given.shape[0] < 2 or not given.numel():
        return False
    return _spread(given) > _SAME and _spread(answer) <= _SAME


def _spread(tensor: Tensor) -> float:
    """How far samples are from the first one, as a part of the largest number."""
    largest = tensor.abs().max().item()
    return (tensor - tensor[:1]).abs().max().item() / largest if largest else 0.0


def _group_size(call: NormCall) -> int:
    """How many values GroupNorm takes its statistics from; 0 for other norms."""
    if call.function not in GROUP_NORMS:
        return 0
    groups = call.args[1] if len(call.args) > 1 else call.kwargs["num_groups"]
    return int(call.input[0].numel() // groups)


def _with_other_samples(arguments: Arguments, subject: Subject) -> Arguments:
    """The same first sample in another batch."""
    others = subject.feed(seed=subject.job.seed + 1)

    def mixed(first: object, other: object) -> object:
        if not isinstance(first, Tensor) or not isinstance(other, Tensor) or not _rows(first):
            return first
        return torch.cat([first[: _rows(first)], other[_rows(first) :]])

    result: Arguments = tree_map(mixed, arguments, others)
    return result


def _rows(tensor: Tensor) -> int:
    """How many rows are a sample's; 0 if the first axis is not that of the batch."""
    size = tensor.shape[0] if tensor.dim() else 0
    return size // BATCH if size % BATCH == 0 else 0


def _rows_differ(ones: Iterable[Tensor], others: Iterable[Tensor]) -> bool:
    """Whether the rows of the first sample differ in any tensor."""
    return any(
        one.shape != other.shape or differs(one[: _rows(one)], other[: _rows(other)]) != ""
        for one, other in zip(ones, others, strict=False)
        if _rows(one)
    )


def _is_folded(call: NormCall) -> bool:
    """Whether the norm is given a single row, with the batch among its channels."""
    shape = call.input.shape
    return len(shape) > 1 and shape[0] == 1 and shape[1] % BATCH == 0


def _places(calls: list[NormCall]) -> str:
    return ", ".join(sorted({call.place for call in calls}))
