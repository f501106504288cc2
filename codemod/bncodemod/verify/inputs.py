"""Inputs for a built module: found by running it on the meta device, where nothing is computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bncodemod.verify import meta
from bncodemod.verify.build import Constructed
from bncodemod.verify.guess import Guesses
from bncodemod.verify.harvest import Harvest
from bncodemod.verify.mend import larger
from bncodemod.verify.model import Example, Job
from bncodemod.verify.refusal import Refusal, refused
from bncodemod.verify.specs import Feed, Spec, describe

_BATCH, _OTHER_BATCH, _EVEN_BATCH = 2, 5, 4


@dataclass(frozen=True)
class Inputs:
    """What a module is called with, in any batch size that is a multiple of ``multiple``."""

    text: str
    feed: Feed
    multiple: int = 1

    def make(
        self,
        device: torch.device | str,
        *,
        batch: int,
        stack: int | None = None,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Tensors ``(N, ...)``, or ``(V, N, ...)`` with ``stack``; other values as they are.

        The values depend on the seed and the shapes, not on the device.
        """
        if batch > 1:
            batch = math.ceil(batch / self.multiple) * self.multiple
        generator = torch.Generator().manual_seed(seed)
        front = () if stack is None else (stack,)

        def leaf(value: Any) -> Any:
            if not isinstance(value, Spec):
                return value
            return value.make((*front, *value.sizes(batch)), generator, dtype, device)

        made = self.feed.map(leaf)
        return made.positional, made.keywords


def find_inputs(
    constructed: Constructed, name: str, job: Job, harvest: Harvest
) -> Inputs | Refusal:
    """Inputs with which ``constructed.module`` runs in train mode, in batches of several sizes."""
    try:
        said = [_said(each) for each in constructed.feeds if isinstance(each, Example)]
    except Exception as error:
        return refused(f"the inputs given for {name} cannot be made", error)
    seen = [each for each in constructed.feeds if isinstance(each, Feed)]
    if said:
        return _first_that_runs(said, _Runner(constructed.module, harvest), name)
    return search(constructed.module, seen, name, harvest)


def search(module: nn.Module, seen: list[Feed], name: str, harvest: Harvest) -> Inputs | Refusal:
    """Inputs that are guessed, after those that such a module was ``seen`` to be fed."""
    if type(module).forward is nn.Module.forward:
        return Refusal(f"{type(module).__name__} has no forward")
    runner = _Runner(module, harvest)
    guesses = Guesses(module)
    guesses.add(seen)
    found = _first_that_runs(guesses, runner, name, guesses.mend)
    return found if isinstance(found, Refusal) else runner.roomier(found)


def _first_that_runs(
    feeds: Iterable[Feed],
    runner: _Runner,
    name: str,
    mend: Callable[[Feed, Exception], None] | None = None,
) -> Inputs | Refusal:
    """The first feed that runs, or what the first one ended in."""
    first: Refusal | None = None
    for feed in feeds:
        error = runner.error(feed)
        if error is None:
            return Inputs(str(feed), feed, runner.multiple)
        refusal = refused(f"{name} does not run with {feed}", error)
        if meta.asks_for_values(error):  # which no other shape will change
            return refusal
        first = first or refusal
        if mend is not None:
            mend(feed, error)
    return first or Refusal(f"no inputs were found for {name}")


class _Runner:
    """Runs one module where it was built."""

    def __init__(self, module: nn.Module, harvest: Harvest) -> None:
        self._module = module
        self._harvest = harvest
        self.multiple = 1
        self._device = meta.device_of(module)

    def error(self, feed: Feed) -> Exception | None:
        """What is raised with one of two sizes of batches; the parts' inputs are noted."""
        self.multiple = 1
        error = self._run(feed, _BATCH)
        if error is None and (error := self._watched(feed, _OTHER_BATCH)) is not None:
            if self._watched(feed, _EVEN_BATCH) is None:  # it takes its batches apart
                self.multiple, error = _BATCH, None
        return error

    def _watched(self, feed: Feed, batch: int) -> Exception | None:
        self._harvest.watch(batch)
        try:
            return self._run(feed, batch)
        finally:
            self._harvest.watch(None)

    def roomier(self, inputs: Inputs) -> Inputs:
        """Twice the size, where a single sample leaves one value for its statistics."""
        if self._run(inputs.feed, 1) is None or (other := larger(inputs.feed)) is None:
            return inputs
        fits = self._run(other, 1) is None and self.error(other) is None
        return Inputs(str(other), other, self.multiple) if fits else inputs

    def _run(self, feed: Feed, batch: int) -> Exception | None:
        try:
            args, kwargs = Inputs("", feed).make(self._device, batch=batch)
            with meta.quick_batch_norms(), torch.no_grad(), self._device:
                self._module(*args, **kwargs)
        except Exception as error:
            return error
        return None


def _said(example: Example) -> Feed:
    """An example's inputs; the text of one is evaluated, with torch at hand."""

    def one(said: tuple[int, ...] | str) -> Any:
        if isinstance(said, str):
            return eval(said, {"torch": torch, "nn": nn})
        return Spec((1, *said[1:]))

    parts = [one(said) for said in example.inputs]
    tensors = [part for part in parts if isinstance(part, torch.Tensor) and part.dim()]
    batch = tensors[0].shape[0] if tensors else 1
    return describe(tuple(parts), {}, batch)
