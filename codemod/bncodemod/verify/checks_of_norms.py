"""Checks of what norms do to their inputs: that something is left, and that samples stay apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from bncodemod.verify import calling
from bncodemod.verify.calling import Arguments, Outputs
from bncodemod.verify.checks import NO_BATCH, Skipped, check
from bncodemod.verify.comparing import differs
from bncodemod.verify.model import Cause, Check, CheckResult, Outcome, in_order
from bncodemod.verify.norm_calls import BATCH_NORMS, NormCall
from bncodemod.verify.recorder import NormCalls
from bncodemod.verify.reproducible import seed_all
from bncodemod.verify.subject import BATCH, Subject

_WHOLE_BATCH = "batch norm takes its statistics from the whole batch"
_SAME = 1e-3  # what samples that are one after the norm differ by, for rounding


@check(Check.CONSTANT)
def _constant(subject: Subject) -> CheckResult:
    answers, calls = _watched(subject, subject.feed())
    subject.is_batch_normed = all(call.uses_batch for call in calls)
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
        return _noted(f"a norm built elsewhere gives the same for every sample: {_places(dead)}")
    if pairs := [call for call in calls if call.values == 2]:
        return _noted(f"only the sign of a difference is left of two values: {_places(pairs)}")
    if answers and all(map(_is_alike, answers)):
        return _noted("the model's answer is the same for every sample, though its norms' are not")
    return CheckResult(Check.CONSTANT, Outcome.PASSED)


def _noted(message: str) -> CheckResult:
    return CheckResult(Check.CONSTANT, Outcome.NOTED, message, Cause.CONSTANT)


@check(Check.INDEPENDENCE)
def _independence(subject: Subject) -> CheckResult:
    if subject.is_batch_normed:
        raise Skipped(_WHOLE_BATCH)
    if not subject.prepared.inputs.has_batch:
        raise Skipped(NO_BATCH)
    first = subject.feed()
    statistics: list[tuple[Tensor, Tensor]] = []
    with _StillStatistics(statistics):
        answers, calls = _watched(subject, first)
    if not calls:
        raise Skipped("no norm runs")
    if all(call.uses_batch for call in calls):
        raise Skipped(_WHOLE_BATCH)
    with _StillStatistics(statistics):
        changed, others = _watched(subject, _with_other_samples(first, subject))
    depends = _rows_differ(answers, changed)
    if any(map(_rows, answers)) and not depends:
        return CheckResult(Check.INDEPENDENCE, Outcome.PASSED)
    mixing = [
        call
        for call, other in zip(calls, others, strict=False)
        if not call.uses_batch and _mixes(call, other, depends)
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
    if not depends:
        return CheckResult(Check.INDEPENDENCE, Outcome.PASSED)
    message = "a sample's answer depends on the others of the batch, though not through a norm"
    return CheckResult(Check.INDEPENDENCE, Outcome.NOTED, message, Cause.DEPENDENT)


class _StillStatistics(TorchFunctionMode):
    """Keeps a sample apart from its batch in batch norms, so that what else mixes them shows.

    Batch norms take their statistics from their batch as ever, and note them in ``taken``; what is
    there already is taken instead, by the order of the calls.
    """

    def __init__(self, taken: list[tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self._taken = taken
        self._calls = 0

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = _arguments_of_batch_norm(func, args, kwargs or {})
        if not given.get("training"):
            return func(*args, **(kwargs or {}))
        if self._calls == len(self._taken):
            values = given["input"].detach()
            axes = [axis for axis in range(values.dim()) if axis != 1]
            self._taken.append((values.mean(axes), values.var(axes, unbiased=False)))
        mean, variance = self._taken[self._calls]
        self._calls += 1
        weight, bias = given.get("weight"), given.get("bias")
        eps = given.get("eps", 1e-5)
        return functional.batch_norm(given["input"], mean, variance, weight, bias, eps=eps)


def _arguments_of_batch_norm(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """The arguments of a call by their names; none if it is another function."""
    if function not in BATCH_NORMS:
        return {}
    order = _TORCH_ORDER if function is torch.batch_norm else _FUNCTIONAL_ORDER
    return {**dict(zip(order, args, strict=False)), **kwargs}


_FUNCTIONAL_ORDER = (
    "input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps",
)  # fmt: skip
_TORCH_ORDER = (
    "input", "weight", "bias", "running_mean", "running_var", "training", "momentum", "eps",
)  # fmt: skip


def _mixes(call: NormCall, other: NormCall, depends: bool) -> bool:
    """Whether what a sample gives a norm comes out otherwise beside other samples.

    Where the rows are not the samples, a model whose answer ``depends`` on them says enough; else
    what the sample has given is known by its values, which occur nowhere else.
    """
    if _rows(call.input):
        same_given = not _rows_differ([call.input], [other.input])
        return same_given and _rows_differ([call.answer], [other.answer])
    if depends or call.input.shape != other.input.shape:
        return depends
    _, place, count = torch.unique(call.input, return_inverse=True, return_counts=True)
    own = (call.input == other.input) & (count[place] == 1)
    return bool(own.any()) and differs(call.answer[own], other.answer[own]) != ""


def _watched(subject: Subject, arguments: Arguments) -> tuple[Outputs, list[NormCall]]:
    module = subject.fresh()
    seed_all(subject.job.seed)
    with torch.no_grad(), NormCalls(subject.recorder) as calls:
        return calling.run(module, arguments), calls.seen


def _is_constant(call: NormCall) -> bool:
    """Whether samples that differ come out equal, or would: of one value nothing is left."""
    given, answer = call.input, call.answer
    if not given.dim() or given.shape[0] < 2 or not given.numel():
        return False
    return call.values == 1 or (_spread(given) > _SAME and _spread(answer) <= _SAME)


def _is_alike(answer: Tensor) -> bool:
    """Whether an answer has the same rows, as where the mean is taken of what has none left."""
    has_rows = answer.is_floating_point() and _rows(answer) > 0 and answer.numel() > 0
    return has_rows and _spread(answer) <= _SAME


def _spread(tensor: Tensor) -> float:
    """How far samples are from the first one, as a part of the largest number."""
    largest = tensor.abs().max().item()
    return (tensor - tensor[:1]).abs().max().item() / largest if largest else 0.0


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
