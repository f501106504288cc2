"""A candidate, built and fed: building and feeding go hand in hand."""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bncodemod.verify.build import Constructed, first
from bncodemod.verify.harvest import Harvest
from bncodemod.verify.inputs import Inputs, find_inputs
from bncodemod.verify.model import Job
from bncodemod.verify.refusal import Refusal


@dataclass(frozen=True)
class Prepared:
    """A module that runs, with its inputs."""

    constructed: Constructed
    inputs: Inputs


def prepare(
    target: Callable[..., Any], name: str, namespace: types.ModuleType, job: Job, harvest: Harvest
) -> Prepared | Refusal:
    """The first way of building ``target`` for which inputs are found; never raises Exception."""

    def accept(constructed: Constructed) -> Prepared | Refusal:
        inputs = find_inputs(constructed, name, job, harvest)
        return inputs if isinstance(inputs, Refusal) else Prepared(constructed, inputs)

    return first(target, name, namespace, job, harvest, accept)
