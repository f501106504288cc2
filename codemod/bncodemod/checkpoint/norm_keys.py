"""Which keys of a state dict are running statistics of a norm: decided by names and shapes alone.

A module's keys share a prefix. A group of them is a norm of torch if it holds the three buffers
that batch and instance norm register together, of shapes that belong together. ``running_mean``
alone is anybody's name: a moving average, an observer, a norm that keeps its buffers itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

MEAN, VARIANCE, COUNTER = "running_mean", "running_var", "num_batches_tracked"
BUFFERS = (MEAN, VARIANCE, COUNTER)

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Norm:
    """A norm whose running statistics go: ``name`` is its module's, ``keys`` what is dropped."""

    name: str
    keys: tuple[str, ...]
    affine: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """A module that has such a buffer and keeps it."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Selection:
    """How a norm is told from what only looks like one."""

    keep: tuple[str, ...] = ()  # patterns of module names
    old_format: bool = False  # whether a norm may lack the counter, as before torch 0.4.1


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of one state dict."""

    norms: tuple[Norm, ...]
    kept: tuple[Kept, ...]

    @property
    def dropped(self) -> frozenset[str]:
        """All keys that go."""
        return frozenset(key for norm in self.norms for key in norm.keys)


Decide = Callable[[Mapping[str, Shape]], Plan]
"""What says what becomes of a state dict."""


def plan(shapes: Mapping[str, Shape], selection: Selection) -> Plan:
    """Decide about a state dict, of which only the tensors' shapes are looked at."""
    prefixes = dict.fromkeys(_prefix(key) for key in shapes if _last(key) in BUFFERS)
    norms: list[Norm] = []
    kept: list[Kept] = []
    for prefix in prefixes:
        group = _Group(prefix, shapes)
        reason = group.objection(selection)
        if reason:
            kept.append(Kept(group.name, reason))
        else:
            keys = tuple(prefix + key for key in BUFFERS if prefix + key in shapes)
            norms.append(Norm(group.name, keys, group.shape("weight") is not None))
    return Plan(tuple(norms), tuple(kept))


@dataclass(frozen=True, slots=True)
class _Group:
    """The keys of one module."""

    prefix: str
    shapes: Mapping[str, Shape]

    @property
    def name(self) -> str:
        return self.prefix.removesuffix(".")

    def shape(self, key: str) -> Shape | None:
        """The shape of the tensor under the last part of its key."""
        return self.shapes.get(self.prefix + key)

    def objection(self, selection: Selection) -> str:
        """Why its buffers stay; empty if it is a norm."""
        mean, counter = self.shape(MEAN), self.shape(COUNTER)
        if any(fnmatchcase(self.name, pattern) for pattern in selection.keep):
            return "asked for with --keep"
        if mean is None or self.shape(VARIANCE) is None:
            return f"a norm has both {MEAN} and {VARIANCE}"
        if len(mean) != 1 or self.shape(VARIANCE) != mean:
            return "a norm's running statistics are vectors of one length"
        if any(self.shape(key) not in (None, mean) for key in ("weight", "bias")):
            return "a norm's weight and bias are as long as its running statistics"
        if counter is not None:
            return "" if counter in ((), (1,)) else f"a norm's {COUNTER} is one number"
        if self.shape("weight") is None or self.shape("bias") is None:
            return f"no {COUNTER}, weight and bias beside it: a buffer of the module's own"
        if selection.old_format:
            return ""
        return (
            f"no {COUNTER} beside it: a frozen batch norm, which keeps its statistics;"
            " if the file is older than torch 0.4.1, add --old-format"
        )


def _prefix(key: str) -> str:
    return key[: len(key) - len(_last(key))]


def _last(key: str) -> str:
    return key.rpartition(".")[2]
