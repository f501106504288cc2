"""Calls that patch a model which is built, watched: which norms each of them has reached.

What is called at such a site is replaced by a function that calls it, and has the norms that it was
given, and those that it has put in their place, remember the site.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bncodemod.strategies.patches import KEEPING
from bncodemod.verify.marks import WATCHERS
from bncodemod.verify.model import Site, SiteKind
from bncodemod.verify.patch_results import kind_of
from bncodemod.verify.recorder import add_site, norms_in

_KEPT = "_bncodemod_kept"  # what a norm that keeps its statistics had before it was patched
_GROUPED = "_bncodemod_grouped"  # a norm of a model that is patched with GroupNorms
_STATISTICS = ("running_mean", "running_var")


@dataclass
class Patched:
    """What was patched while a :func:`watch` was open: the sites with their models, in order."""

    models: list[tuple[Site, nn.Module]] = field(default_factory=list)
    enough: frozenset[Site] = frozenset()

    def distinct(self) -> list[nn.Module]:
        """Each model once."""
        return list({id(model): model for _, model in self.models}.values())


class Enough(BaseException):
    """All sites that were waited for have patched a model: the rest of the function may wait."""


@dataclass
class _State:
    watches: list[Patched] = field(default_factory=list)
    off: bool = False
    trained: bool = False


_state = _State()
ran: set[Site] = set()  # the sites that were run at all
empty: set[Site] = set()  # those that were given a model without batch norms
_imported: dict[Site, list[nn.Module]] = {}  # what sites at the top level of modules have patched


@contextmanager
def watch(enough: frozenset[Site] = frozenset()) -> Iterator[Patched]:
    """Note what is patched; :class:`Enough` is raised once all sites of ``enough`` have run."""
    patched = Patched(enough=enough)
    _state.watches.append(patched)
    try:
        yield patched
    finally:
        _state.watches.remove(patched)


@contextmanager
def as_trained(*, patched: bool = True) -> Iterator[None]:
    """Meanwhile models have statistics that are not a new norm's when they are patched.

    Without ``patched``, patches do nothing: what is built is the model as it was before.
    """
    before = _state.trained, _state.off
    _state.trained, _state.off = True, not patched
    try:
        yield
    finally:
        _state.trained, _state.off = before


def at_import(site: Site) -> list[nn.Module]:
    """The models that were patched at a site at the top level of a module."""
    return _imported.get(site, [])


def kept_norms(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The norms of a module that a patch should have left their statistics, with their names."""
    return ((name, m) for name, m in module.named_modules() if _KEPT in m.__dict__)


def grouped_norms(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The norms of a module that a patch should have made GroupNorms, with their names."""
    return ((name, m) for name, m in norms_in(module) if _GROUPED in m.__dict__)


def train_statistics(module: nn.Module, names: list[str]) -> None:
    """Give the named norms the statistics that they are given when they are patched."""
    for name in names:
        norm = module.get_submodule(name)
        if isinstance(norm, _BatchNorm):
            _train(norm)


def _watched(site: Site, patch: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(patch)
    def patching(model: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(model, nn.Module):
            return patch(model, *args, **kwargs)
        before = {module for module in model.modules() if isinstance(module, _BatchNorm)}
        others = {norm for _, norm in norms_in(model)} - before
        kind = kind_of(patch)
        kept = kind in KEEPING
        for batch_norm in before:
            if _state.trained:
                _train(batch_norm)
            if kept:
                batch_norm.__dict__[_KEPT] = True
        result = model if _state.off else patch(model, *args, **kwargs)
        ran.add(site)
        (empty.discard if before else empty.add)(site)
        patched = result if isinstance(result, nn.Module) else model
        for _, norm in norms_in(patched):
            if norm not in others:
                add_site(norm, site)
                if kind == "group-norm" and not _state.off:
                    norm.__dict__[_GROUPED] = True
        _note(site, patched)
        return result

    return patching


def _note(site: Site, model: nn.Module) -> None:
    if not site.owner:
        _imported.setdefault(site, []).append(model)
    for watching in _state.watches:
        watching.models.append((site, model))
        if watching.enough and watching.enough <= {seen for seen, _ in watching.models}:
            raise Enough


def _train(norm: _BatchNorm) -> None:
    """Other statistics than a new norm's, if it has such: those that were loaded stay."""
    mean, variance = (getattr(norm, name) for name in _STATISTICS)
    if mean is None or mean.is_meta or bool(mean.any()) or not bool((variance == 1).all()):
        return
    with torch.no_grad():
        mean.copy_(_values(mean, 0.5))
        variance.copy_(1.5 + _values(variance, 0.5))
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.fill_(3)


def _values(like: Tensor, scale: float) -> Tensor:
    steps = torch.arange(like.numel(), device=like.device, dtype=like.dtype)
    return scale * torch.sin(steps + 1).reshape(like.shape)


WATCHERS[SiteKind.PATCH] = _watched
