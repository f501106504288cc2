"""A candidate that runs, and what it reaches."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from bncodemod.verify.candidates import Candidate
from bncodemod.verify.model import Site
from bncodemod.verify.norm_calls import Fed
from bncodemod.verify.prepare import Prepared
from bncodemod.verify.recorder import Ran, norms_in, sites_of

_FUNCTION = re.compile(r"\b(batch|instance|group)_norm\(")


@dataclass(frozen=True)
class Reached:
    """A candidate that runs, the sites that ran in it, and roughly what a run costs.

    ``idle`` are the sites of norms that did not run and for which no other norm speaks; ``fed``
    says what norms were fed whose statistics are those of single samples.
    """

    candidate: Candidate
    prepared: Prepared
    sites: frozenset[Site]
    idle: frozenset[Site]
    cost: float
    seconds: float
    is_part: bool = False  # of a model that is dear
    fed: frozenset[tuple[Site, Fed]] = frozenset()

    @property
    def unsure(self) -> frozenset[Site]:
        """The sites of whose norms other inputs than the guessed ones may leave nothing."""
        if not self.prepared.inputs.guessed:
            return frozenset()
        return self.sites.intersection(site for site, fed in self.fed if fed.is_split)

    @property
    def keeping(self) -> frozenset[Site]:
        """The sites whose norms keep running statistics, whether or not they ran."""
        norms = (norm for _, norm in norms_in(self.prepared.constructed.module))
        kept = (norm for norm in norms if getattr(norm, "track_running_stats", False))
        return frozenset().union(*map(sites_of, kept))


def reached(
    candidate: Candidate, prepared: Prepared, ran: Ran, cost: float, seconds: float
) -> Reached:
    """What a candidate reaches, as it ``ran``."""
    sites, idle, fed = frozenset(ran.sites), frozenset(ran.idle), frozenset(ran.fed)
    return Reached(candidate, prepared, sites, idle, cost, seconds, fed=fed)


def holds_one_of(sites: frozenset[Site] | None) -> Callable[[nn.Module], bool]:
    """Whether a module has a norm of one of the sites; None: whether or not it has norms.

    A norm that is called as a function, or built in forward, shows only when it runs.
    """
    if sites is None or any(map(_shows_when_run, sites)):
        return lambda module: True
    return lambda module: not sites.isdisjoint(sites_in(module))


def _shows_when_run(site: Site) -> bool:
    is_in_forward = site.owner.rpartition(".")[2] == "forward"
    return is_in_forward or _FUNCTION.search(site.text) is not None


def sites_in(module: nn.Module) -> frozenset[Site]:
    """The sites of all norms that a module holds."""
    return frozenset().union(*(sites_of(norm) for _, norm in norms_in(module)))
