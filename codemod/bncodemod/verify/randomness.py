"""Random numbers: layers that are off to compare, and what vmap is to be told where they are on."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from bncodemod.verify.assignments import place_above
from bncodemod.verify.calling import Randomness
from bncodemod.verify.causes import Explained, explain
from bncodemod.verify.model import Cause
from bncodemod.verify.recorder import norms_in

_OF_TORCH = (_DropoutNd, nn.RReLU)
# Layers of others, which have no base in common.
_NAMES = re.compile(r"drop_?(out|path|block|connect)|stochastic_?depth", re.IGNORECASE)
_RATES = ("p", "drop_prob", "drop_rate", "prob")
_RANDOM = frozenset({Cause.RANDOMNESS, Cause.STOCHASTIC_DEPTH})

T = TypeVar("T")


def switch_off_randomness(module: nn.Module) -> list[str]:
    """Switch off the layers that draw random numbers in train mode; say which, by their classes.

    Only what does nothing else: eval mode would hide how a norm runs in train mode.
    """
    found = []
    for layer in module.modules():
        kind = type(layer)
        if not isinstance(layer, _OF_TORCH) and not _NAMES.search(kind.__name__):
            continue
        if next(norms_in(layer), None) or next(layer.parameters(), None) is not None:
            continue
        found.append(kind.__name__)
        for name in _RATES:
            if isinstance(getattr(layer, name, None), float):
                setattr(layer, name, 0.0)
        layer.training = False
    return sorted(set(found))


@dataclass(frozen=True, slots=True)
class Drawn:
    """Where a model first draws random numbers, and what vmap is to be told for it to run."""

    place: Explained
    randomness: Randomness

    @property
    def message(self) -> str:
        only = " only" if self.randomness == "same" else ""
        return f"random numbers are drawn, which runs with randomness={self.randomness!r}{only}"

    @property
    def remedy(self) -> str:
        remedy = f"call vmap with randomness={self.randomness!r}"
        return f"{remedy} or set the drop rate to 0" if self.randomness == "same" else remedy


def is_random(error: Exception, roots: Sequence[str]) -> Explained | None:
    """What there is to say of an error, if it is that vmap refuses to draw random numbers."""
    found = explain(error, roots)
    return found if found.cause in _RANDOM else None


class Dropouts:
    """Notes the user's line at which a layer of dropout first runs."""

    def __init__(self, roots: Sequence[str]) -> None:
        self.place: Explained | None = None
        self._roots = roots

    def watch(self, module: nn.Module) -> bool:
        """Whether a module has such layers in train mode: they are watched from now on."""
        layers = [each for each in module.modules() if isinstance(each, _DropoutNd)]
        active = [each for each in layers if each.training and each.p > 0]
        for layer in active:
            layer.register_forward_pre_hook(self._note)
        return bool(active)

    def _note(self, layer: nn.Module, _: object) -> None:
        if self.place is None:
            path, line = place_above(sys._getframe(1), self._roots) or ("", 0)
            self.place = Explained(Cause.RANDOMNESS, "", path=path, line=line)


def as_users_run(
    run: Callable[[Randomness, nn.Module], T], fresh: Callable[[], nn.Module], roots: Sequence[str]
) -> tuple[T, Drawn | None]:
    """Run with vmap's default, which refuses to draw random numbers, else in the way that works.

    Raises what is in vmap's way even if it is told how to draw them. What has dropout is told at
    once: that saves a run which dropout ends.
    """
    dropouts, module = Dropouts(roots), fresh()
    if dropouts.watch(module):
        try:
            answer = run("different", module)
        except Exception as error:
            if explain(error, roots).cause is Cause.RUNNING_STATS:
                raise
        else:
            if dropouts.place is not None:
                return answer, Drawn(dropouts.place, "different")
        module = fresh()
    try:
        return run("error", module), None
    except Exception as error:
        place = is_random(error, roots)
        if place is None:
            raise
    try:
        return run("different", fresh()), Drawn(place, "different")
    except Exception as error:
        different = error
    # Numbers that are the same for all are plain: what looks at them fails with "different" alone.
    try:
        return run("same", fresh()), Drawn(place, "same")
    except Exception as error:
        raise different if is_random(error, roots) else error from None
