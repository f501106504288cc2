"""Checks against the sources before the rewrite."""

from __future__ import annotations

import functools
import inspect
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bncodemod.verify import calling, meta
from bncodemod.verify.candidates import copies, resolve
from bncodemod.verify.causes import explain
from bncodemod.verify.checks import Skipped, check
from bncodemod.verify.loading import originals
from bncodemod.verify.model import Cause, Check, CheckResult, Outcome
from bncodemod.verify.randomness import switch_off_randomness
from bncodemod.verify.refusal import in_a_line
from bncodemod.verify.reproducible import seed_all
from bncodemod.verify.subject import STACK, Subject

_FEW = 2  # samples: what computes the same bits for these does so for more


@dataclass(frozen=True)
class _Original:
    """Builds a candidate's original, with the same arguments."""

    target: Any
    subject: Subject

    def on(self, device: torch.device, seed: int) -> nn.Module:
        """The module in train mode; raises Skipped where it cannot be built."""
        seed_all(seed)
        try:
            module = self.subject.prepared.constructed.rebuild(device, self._call)
            module.train()
            self.subject.fill(module, device)
        except Exception as error:
            raise Skipped(f"the original cannot be built: {in_a_line(error)}") from error
        return module

    def on_meta(self) -> nn.Module:
        """On meta, or on the CPU where its constructor asks for values."""
        try:
            return self.on(meta.META, 0)
        except Skipped:
            return self.on(meta.CPU, 0)

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        return self.target(
            *map(_counterpart, args), **{k: _counterpart(v) for k, v in kwargs.items()}
        )


@contextmanager
def original_of(subject: Subject) -> Iterator[_Original]:
    """The candidate's original; raises Skipped where there is none."""
    if not subject.job.original_root:
        raise Skipped("the original is not known")
    with originals(subject.job) as module:
        if isinstance(module, Exception):
            raise Skipped(f"the original does not import: {module}")
        target = resolve(module, subject.name)
        if target is None:
            raise Skipped(f"the original has no {subject.name}")
        if isinstance(target, nn.Module):  # built when the module is imported
            target = copies(target)
        yield _Original(target, subject)


@check(Check.ORIGINAL_FAILS)
def _original_fails(subject: Subject) -> CheckResult:
    with original_of(subject) as original, torch.no_grad():
        module = original.on_meta()
        switch_off_randomness(module)
        device = meta.device_of(module)
        inputs = subject.feed(stack=STACK, device=device)
        try:
            with device:
                calling.vmapped(module, inputs, subject.job.seed, "same")
        except Exception as error:
            found = explain(error, (subject.job.original_root,))
        else:
            message = "the original runs under vmap too"
            return CheckResult(Check.ORIGINAL_FAILS, Outcome.NOTED, message)
    if found.cause is not Cause.RUNNING_STATS:
        raise Skipped(f"the original fails otherwise: {found.message}")
    return CheckResult(Check.ORIGINAL_FAILS, Outcome.PASSED, found.message, trace=found.trace)


@check(Check.STATE_DICT)
def _state_dict(subject: Subject) -> CheckResult:
    with original_of(subject) as original:
        before = set(original.on_meta().state_dict())
    after = set(subject.prepared.constructed.module.state_dict())
    parts = [
        f"{len(keys)} {word} ({_suffixes(keys)})"
        for word, keys in (("lost", before - after), ("gained", after - before))
        if keys
    ]
    if not parts:
        return CheckResult(Check.STATE_DICT, Outcome.PASSED)
    return CheckResult(
        Check.STATE_DICT,
        Outcome.NOTED,
        f"keys of the state dict: {', '.join(parts)}",
        remedy="take them out of old checkpoints with bncodemod migrate-checkpoint",
    )


def _suffixes(keys: set[str]) -> str:
    counts = Counter(key.rpartition(".")[2] for key in keys)
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


@check(Check.BIT_IDENTICAL)
def _bit_identical(subject: Subject) -> CheckResult:
    device, seed = subject.device, subject.job.seed
    new = subject.new()
    with original_of(subject) as original, torch.no_grad():
        old = original.on(device, seed)
        _refuse_other_norms(old, new)
        if drawn := other_parameters(old, new):
            subject.note(f"the original starts with other values of {drawn}")
            old.load_state_dict(new.state_dict(), strict=False)
        inputs = subject.feed(batch=_FEW)
        seed_all(seed)
        before = calling.run(old, inputs)
        seed_all(seed)
        after = calling.run(new, inputs)
    if len(before) == len(after) and all(map(same_bits, before, after)):
        return CheckResult(Check.BIT_IDENTICAL, Outcome.PASSED)
    return CheckResult(
        Check.BIT_IDENTICAL,
        Outcome.FAILED,
        "in train mode the answer is not that of the original, bit for bit",
        Cause.CHANGED,
    )


def _refuse_other_norms(old: nn.Module, new: nn.Module) -> None:
    """Bits can be the same only where batch norms still are batch norms."""
    parts = dict(new.named_modules())
    for name, module in old.named_modules():
        if isinstance(module, _BatchNorm) and not isinstance(parts.get(name), _BatchNorm):
            raise Skipped("other norms than the original's give other answers")


def other_parameters(old: nn.Module, new: nn.Module) -> str:
    """The first parameter that the same seed has not made the same; empty if there is none."""
    values = dict(old.named_parameters())
    for name, value in new.named_parameters():
        if name not in values or not same_bits(value, values[name]):
            return name
    return ""


def same_bits(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one.nan_to_num(), other.nan_to_num())


def _counterpart(value: Any) -> Any:
    """The original of a class or function that an argument holds; other values as they are."""
    if type(value) in (list, tuple):
        return type(value)(map(_counterpart, value))
    if type(value) is dict:
        return {key: _counterpart(item) for key, item in value.items()}
    if isinstance(value, functools.partial):
        return functools.partial(_counterpart(value.func), *value.args, **value.keywords)
    if inspect.isclass(value) or inspect.isfunction(value):
        module = sys.modules.get(value.__module__)
        found = resolve(module, value.__qualname__) if module is not None else None
        return value if found is None else found
    return value
