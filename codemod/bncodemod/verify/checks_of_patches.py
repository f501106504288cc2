"""Checks of models that are patched: what keeps its statistics, and what is to be GroupNorm."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bncodemod.verify import calling, patches
from bncodemod.verify.checks import Skipped, check
from bncodemod.verify.checks_of_original import original_of, other_parameters, same_bits
from bncodemod.verify.model import Cause, Check, CheckResult, Outcome, in_order
from bncodemod.verify.recorder import sites_of
from bncodemod.verify.reproducible import seed_all
from bncodemod.verify.subject import Subject

_REMEDY = "patch with --patch keep-statistics, whose helper only stops the updates"


@dataclass(frozen=True)
class _Pair:
    """A model as it was before it was patched, and as it is now, with the same weights.

    ``names`` are those of the patched norms.
    """

    before: nn.Module
    after: nn.Module
    names: list[str]

    def failure(self, which: Check, message: str) -> CheckResult:
        parts = [self.after.get_submodule(name) for name in self.names]
        sites = {site for part in parts for site in sites_of(part)}
        return CheckResult(
            which, Outcome.FAILED, message, Cause.STATISTICS, _REMEDY, sites=in_order(sites)
        )


@check(Check.KEPT_STATE)
def _state(subject: Subject) -> CheckResult:
    pair = _pair(subject)
    for name in pair.names:
        old = pair.before.get_submodule(name).state_dict()
        new = pair.after.get_submodule(name).state_dict()
        for word, keys in (
            ("drops", [key for key in old if key not in new]),
            ("adds", [key for key in new if key not in old]),
            ("changes", [key for key in old if key in new and not same_bits(old[key], new[key])]),
        ):
            if keys:
                message = f"{name}: the patch {word} {', '.join(keys)}"
                return pair.failure(Check.KEPT_STATE, message)
    return CheckResult(Check.KEPT_STATE, Outcome.PASSED)


@check(Check.KEPT_EVAL)
def _eval(subject: Subject) -> CheckResult:
    pair = _pair(subject)
    answers = []
    with torch.no_grad():
        for module in (pair.before, pair.after):
            module.eval()
            seed_all(subject.job.seed)
            answers.append(calling.run(module, subject.feed()))
    before, after = answers
    if len(before) == len(after) and all(map(same_bits, before, after)):
        return CheckResult(Check.KEPT_EVAL, Outcome.PASSED)
    message = "in eval mode the answer is not that of the model before the patch, bit for bit"
    return pair.failure(Check.KEPT_EVAL, message)


@check(Check.GROUPED)
def _grouped(subject: Subject) -> CheckResult:
    norms = list(patches.grouped_norms(subject.prepared.constructed.module))
    if not norms:
        raise Skipped("no patch that puts GroupNorms in is at work")
    left = [
        (name, norm)
        for name, norm in norms
        # GroupNorm rescues no norm with fewer channels: these stay, as the strategy leaves them.
        if isinstance(norm, _BatchNorm) and norm.num_features not in (1, 2)
    ]
    if not left:
        return CheckResult(Check.GROUPED, Outcome.PASSED)
    name, norm = left[0]
    return CheckResult(
        Check.GROUPED,
        Outcome.FAILED,
        f"{len(left)} of {len(norms)} norms are batch norms still, the first {name or 'itself'}:"
        f" {type(norm).__name__}",
        Cause.UNGROUPED,
        "replace these layers by hand, or build the model with another norm_layer",
        sites=in_order({site for _, each in left for site in sites_of(each)}),
    )


def _pair(subject: Subject) -> _Pair:
    """Both models; the original source's if it is known, else what is built without the patch."""
    if not any(patches.kept_norms(subject.prepared.constructed.module)):
        raise Skipped("no patch that keeps statistics is at work")
    with patches.as_trained(), patches.watch() as watched:
        after = subject.rebuilt(subject.device)
    if not watched.models:  # a copy of what the module's import has patched
        patches.train_statistics(after, [name for name, _ in patches.kept_norms(after)])
    try:
        return _with_original(subject, after)
    except Skipped as reason:
        why = str(reason)
    with patches.as_trained(patched=False), patches.watch() as watched:
        before = subject.rebuilt(subject.device)
    if not watched.models:
        raise Skipped(f"it is patched when the module is imported, and {why}")
    subject.note(f"compared with the model as it is without the patch: {why}")
    return _matched(before, after)


def _with_original(subject: Subject, after: nn.Module) -> _Pair:
    with original_of(subject) as original:
        pair = _matched(original.on(subject.device, subject.job.seed), after)
    parts = dict(after.named_modules())
    for name, norm in pair.before.named_modules():
        if isinstance(norm, _BatchNorm) and norm.running_mean is not None:
            other = parts.get(name)
            if name not in pair.names and getattr(other, "running_mean", None) is None:
                raise Skipped(f"another norm of it, {name}, is rewritten")
    return pair


def _matched(before: nn.Module, after: nn.Module) -> _Pair:
    """Parameters are those of the patched model, statistics are not those of a new norm."""
    names = [name for name, _ in patches.kept_norms(after)]
    parts = dict(before.named_modules())
    if unknown := [name for name in names if name not in parts]:
        raise Skipped(f"the original has no {unknown[0]}")
    if other_parameters(before, after):
        own = dict(after.named_parameters())
        with torch.no_grad():
            for name, parameter in before.named_parameters():
                if name in own and own[name].shape == parameter.shape:
                    parameter.copy_(own[name])
    patches.train_statistics(before, names)
    return _Pair(before, after, names)
