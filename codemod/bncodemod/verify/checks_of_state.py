"""The check of what vmap leaves in a model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bncodemod.verify import calling
from bncodemod.verify.causes import explain
from bncodemod.verify.checks import Skipped, check, run_under_vmap, with_randomness
from bncodemod.verify.model import Cause, Check, CheckResult, Outcome
from bncodemod.verify.subject import STACK, Subject


@dataclass(frozen=True)
class _Attributes:
    """The tensors that a model holds beside its parameters, by name."""

    buffers: dict[str, Tensor]
    plain: dict[str, Tensor]

    @classmethod
    def of(cls, module: nn.Module) -> _Attributes:
        buffers = dict(module.named_buffers())
        plain = {
            f"{name}.{key}".lstrip("."): tensor
            for name, part in module.named_modules()
            for key, value in vars(part).items()
            if key not in ("_parameters", "_buffers", "_modules")
            for tensor in calling.outputs(value)
        }
        return cls(buffers, plain)


@check(Check.BUFFERS)
def _buffers(subject: Subject) -> CheckResult:
    try:
        module, places = subject.mapped or run_under_vmap(subject)
    except Exception as error:
        _call_again(subject)
        raise Skipped("vmap does not run to its end") from error
    after = _Attributes.of(module)
    leaked = [name for name, tensor in after.buffers.items() if _is_batched(tensor)]
    held = sorted(name for name, tensor in after.plain.items() if _is_batched(tensor))
    # What is empty or of another kind before the first run is a cache; else it is a state.
    before = _Attributes.of(subject.fresh()).plain if held else {}
    state = {name for name in held if name in before and _alike(before[name], after.plain[name])}
    if leaked or state or (held and _is_unusable(module, subject)):
        names = sorted({*leaked, *(state or held)})
        return CheckResult(
            Check.BUFFERS,
            Outcome.FAILED,
            f"vmap leaves a tensor of its own in {', '.join(names)}: the next call fails",
            Cause.LEAK,
            "return the new value from forward instead of assigning it, or do not update it under"
            " vmap",
            *next((places[name] for name in names if name in places), ()),
        )
    if held or places:
        _call_again(subject)
    if held:
        message = f"what forward keeps in {', '.join(held)} cannot be used after vmap"
        return CheckResult(Check.BUFFERS, Outcome.NOTED, message, Cause.LEAK)
    return CheckResult(Check.BUFFERS, Outcome.PASSED)


def _is_unusable(module: nn.Module, subject: Subject) -> bool:
    """Whether a model that has run under vmap fails in its next call with what is left in it."""
    device = subject.built_on
    try:
        with torch.no_grad(), device:
            calling.run(module, subject.feed(device=device))
    except Exception as error:
        return explain(error, subject.roots).cause is Cause.LEAK
    return False


def _call_again(subject: Subject) -> None:
    """Raise what vmap fails with in a model that was called before, if it passes in a new one."""
    inputs, seed = subject.feed(stack=STACK), subject.job.seed
    module = subject.fresh()
    with torch.no_grad():
        try:
            with_randomness(
                subject, lambda how: calling.vmapped(subject.fresh(), inputs, seed, how)
            )
            calling.run(module, subject.feed())
        except Exception:
            return  # which other checks report
        with_randomness(subject, lambda how: calling.vmapped(module, inputs, seed, how))


def _alike(one: Tensor, other: Tensor) -> bool:
    return (one.dtype, one.shape) == (other.dtype, other.shape)


def _is_batched(tensor: Tensor) -> bool:
    return bool(torch._C._functorch.is_batchedtensor(tensor))
