"""A candidate, built and fed: building and feeding go hand in hand."""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from bncodemod.verify import compiled, meta
from bncodemod.verify.answers import Together
from bncodemod.verify.build import Constructed, construct
from bncodemod.verify.harvest import Harvest
from bncodemod.verify.inputs import Inputs, find_inputs
from bncodemod.verify.model import Job
from bncodemod.verify.parts import Wanted, in_parts
from bncodemod.verify.recorder import norms_in, sites_of
from bncodemod.verify.refusal import Refusal, refused
from bncodemod.verify.together import inputs_of_all


@dataclass(frozen=True)
class Prepared:
    """A module that runs, with its inputs; of some only the named ``parts`` do."""

    constructed: Constructed
    inputs: Inputs
    parts: tuple[str, ...] = ()


def prepare(
    target: Callable[..., Any],
    name: str,
    namespace: types.ModuleType,
    job: Job,
    harvest: Harvest,
    wanted: Wanted = lambda module: True,
    *,
    by_parts: bool = False,
) -> Prepared | Refusal:
    """The first way of building ``target`` for which inputs are found; never raises Exception.

    What cannot be fed is refused as a whole, unless it is to be run ``by_parts``, those that it is
    seen to call. No inputs are looked for if what was built is not ``wanted``, as it holds no norm.
    A module whose forward asks for values, as ``x.sum().item()``, is run on the CPU.
    """

    def fed(constructed: Constructed) -> Inputs | Refusal:
        if isinstance(constructed.module, Together):
            return inputs_of_all(constructed.module, name, harvest)
        return find_inputs(constructed, name, job, harvest)

    def accept(constructed: Constructed) -> Prepared | Refusal:
        if not wanted(constructed.module):
            if why := compiled.reason(constructed.call, constructed.module):
                return Refusal(why)
            if any(sites_of(norm) for _, norm in norms_in(constructed.module)):
                return Refusal(f"{constructed.call} makes norms of other lines only")
            return Refusal(f"{constructed.call} makes none of the norms that are looked for")
        if by_parts:
            found = in_parts(constructed, wanted, name, harvest)
            return found if isinstance(found, Refusal) else Prepared(*found)
        inputs = fed(constructed)
        if isinstance(inputs, Refusal) and _needs_values(inputs, constructed.module):
            constructed = replace(constructed, module=constructed.rebuild(meta.CPU))
            inputs = fed(constructed)
        if isinstance(inputs, Refusal):
            return replace(inputs, is_built=True)
        return Prepared(constructed, inputs)

    try:
        return construct(target, name, namespace, job, harvest, accept)
    except Exception as error:  # what the user's code does may be anything
        return refused(f"{name} cannot be looked at", error)


def _needs_values(refusal: Refusal, module: nn.Module) -> bool:
    """Whether a module did not run because it stands on meta, and is not too large for the CPU."""
    if refusal.error is None or not meta.asks_for_values(refusal.error):
        return False
    count = sum(parameter.numel() for parameter in module.parameters())
    return meta.device_of(module) == meta.META and count <= meta.MOST_PARAMETERS
