"""Inputs for a built module: found by running it on the meta device, where nothing is computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from bncodemod.verify import meta
from bncodemod.verify.build import Constructed
from bncodemod.verify.guess import Guesses
from bncodemod.verify.harvest import Harvest
from bncodemod.verify.mend import larger, smaller
from bncodemod.verify.model import Example, Job
from bncodemod.verify.refusal import Refusal, furthest, refused
from bncodemod.verify.reproducible import seed_all
from bncodemod.verify.specs import Feed, Spec, describe_tensor
from bncodemod.verify.strict import Strict
from bncodemod.verify.traceless import Traceless

_BATCH, _OTHER_BATCH, _EVEN_BATCH = 2, 5, 4
_ROOM = 16  # values in a channel of a sample, which are enough for a norm's statistics


@dataclass(frozen=True)
class Inputs:
    """What a module is called with, in any batch size that is a multiple of ``multiple``.

    ``guessed`` says whether nobody has said or shown that the module takes them. Its numbers are of
    ``dtype``, that of the module's parameters; None: of what torch makes.
    """

    text: str
    feed: Feed
    multiple: int = 1
    guessed: bool = False
    dtype: torch.dtype | None = None

    @property
    def has_batch(self) -> bool:
        """Whether an axis of some tensor is that of a batch."""
        specs = self.feed.specs()
        return not specs or any(spec.batched for spec in specs)

    @property
    def is_mixed(self) -> bool:
        """Whether only some of the tensors that the user has given have the batch first."""
        return len({spec.batched for spec in self.feed.specs() if spec.given is not None}) > 1

    @property
    def own_dtype(self) -> torch.dtype:
        """The type of floating-point numbers in them, unless another one is asked for."""
        return self.dtype or torch.get_default_dtype()

    def make(
        self,
        device: torch.device | str,
        *,
        batch: int,
        stack: int | None = None,
        seed: int = 0,
        dtype: torch.dtype | None = None,
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
            return value.make(
                (*front, *value.sizes(batch)), generator, dtype or self.own_dtype, device
            )

        made = self.feed.map(leaf)
        return made.positional, made.keywords


Rehearse = Callable[[Inputs], Exception | None]


def find_inputs(
    constructed: Constructed,
    name: str,
    job: Job,
    harvest: Harvest,
    rehearse: Rehearse | None = None,
) -> Inputs | Refusal:
    """Inputs with which ``constructed.module`` runs in train mode, in batches of several sizes.

    ``rehearse`` says what a run on the device itself ends in.
    """
    try:
        said = [_said(each, job) for each in constructed.feeds if isinstance(each, Example)]
    except Exception as error:
        return refused(f"the inputs given for {name} cannot be made", error)
    seen = [each for each in constructed.feeds if isinstance(each, Feed)]
    if said:
        return _first_that_runs(said, _Runner(constructed.module, harvest), name)
    return search(constructed.module, seen, name, harvest, rehearse)


def search(
    module: nn.Module,
    seen: list[Feed],
    name: str,
    harvest: Harvest,
    rehearse: Rehearse | None = None,
) -> Inputs | Refusal:
    """Inputs that are guessed, after those that such a module was ``seen`` to be fed."""
    if type(module).forward is nn.Module.forward:
        return Refusal(f"{type(module).__name__} has no forward")
    runner = _Runner(module, harvest, rehearse)
    guesses = Guesses(module)
    guesses.add(seen)
    found = _first_that_runs(guesses, runner, name, guesses.mend)
    if isinstance(found, Refusal):
        return found
    return replace(runner.sized(found, is_shown=found.feed in seen), guessed=True)


def among(feeds: list[Feed], module: nn.Module, name: str, harvest: Harvest) -> Inputs | Refusal:
    """Inputs that such a module was seen to be fed, and no others but in size."""
    runner = _Runner(module, harvest)
    found = _first_that_runs(feeds, runner, name)
    return found if isinstance(found, Refusal) else runner.sized(found, is_shown=True)


def dtype_of(module: nn.Module) -> torch.dtype | None:
    """The type of floating-point numbers that a module has first; None if it has none."""
    return next((p.dtype for p in module.parameters() if p.dtype.is_floating_point), None)


def _first_that_runs(
    feeds: Iterable[Feed],
    runner: _Runner,
    name: str,
    mend: Callable[[Feed, Exception], None] | None = None,
) -> Inputs | Refusal:
    """The first feed that runs, or what the one ended in that got furthest."""
    refusals: list[Refusal] = []
    for feed in feeds:
        before = runner.steps
        error = runner.error(feed)
        if error is None:
            return runner.bounded(runner.inputs(feed))
        refusal = refused(f"{name} does not run with {feed}", error, runner.steps - before)
        if meta.asks_for_values(error):  # which no other shape will change
            return refusal
        refusals.append(refusal)
        if mend is not None:
            mend(feed, error)
    return furthest(refusals) if refusals else Refusal(f"no inputs were found for {name}")


class _Runner:
    """Runs one module where it was built."""

    def __init__(
        self, module: nn.Module, harvest: Harvest, rehearse: Rehearse | None = None
    ) -> None:
        self._module = module
        self._traceless = Traceless(module)
        self._harvest = harvest
        self._rehearse = rehearse
        self._strict = Strict(())  # of the last run
        self.multiple = 1
        self._device = meta.device_of(module)
        self._dtype = dtype_of(module)

    @property
    def steps(self) -> int:
        """How many modules have been called so far."""
        return self._harvest.steps

    def error(self, feed: Feed) -> Exception | None:
        """What is raised with one of two sizes of batches; the parts' inputs are noted."""
        self.multiple = 1
        if (error := self._run(feed, _BATCH)) is not None:
            return error
        error = self._watched(feed, _OTHER_BATCH)
        if error is not None and self._watched(feed, _EVEN_BATCH) is None:
            self.multiple, error = _BATCH, None  # it takes its batches apart
        if error is None and self._rehearse is not None:
            return self._rehearse(self.bounded(self.inputs(feed)))
        return error

    def inputs(self, feed: Feed) -> Inputs:
        """What the module was last run with."""
        return Inputs(str(feed), feed, self.multiple, dtype=self._dtype)

    def bounded(self, inputs: Inputs) -> Inputs:
        """With integers that the embeddings of the last run have rows for."""
        feed = self._strict.bounded(inputs.feed)
        return replace(inputs, text=str(feed), feed=feed)

    def sized(self, inputs: Inputs, *, is_shown: bool) -> Inputs:
        """In the size that shows all in the shortest time.

        What another model was seen to feed (``is_shown``) becomes no larger: of a single value a
        norm may leave nothing.
        """
        feed, rooms = inputs.feed, self._rooms(inputs.feed)
        if not is_shown:
            feed, rooms = roomier(feed, rooms, self._rooms)
            if feed != inputs.feed:
                self._harvest.forget_feeds(self._module)  # of the parts, which become larger too
        while _most(rooms) >= 2 * _ROOM and (other := smaller(feed)) is not None:
            left = self._rooms(other)
            if not _are_enough(left, rooms):
                break
            feed, rooms = other, left
        if feed == inputs.feed or self.error(feed) is not None:
            return inputs
        return self.inputs(feed)

    def _rooms(self, feed: Feed) -> meta.Rooms | None:
        """None if a single sample does not run."""
        rooms: meta.Rooms = []
        return rooms if self._run(feed, 1, rooms) is None else None

    def _watched(self, feed: Feed, batch: int) -> Exception | None:
        self._harvest.watch(batch)
        try:
            return self._run(feed, batch)
        finally:
            self._harvest.watch(None)

    def _run(self, feed: Feed, batch: int, rooms: meta.Rooms | None = None) -> Exception | None:
        """What a run is ended by; ``rooms`` grows by the values that norms had to work with."""
        try:
            args, kwargs = Inputs("", feed, dtype=self._dtype).make(self._device, batch=batch)
            given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
            self._strict = Strict(given)
            with (
                self._traceless,
                meta.quick_kernels() as seen,
                torch.no_grad(),
                self._device,
                self._strict,
            ):
                self._module(*args, **kwargs)
        except Exception as error:
            return error
        if rooms is not None:
            rooms += seen
        return None


def roomier(
    feed: Feed, rooms: meta.Rooms | None, measured: Callable[[Feed], meta.Rooms | None]
) -> tuple[Feed, meta.Rooms | None]:
    """In sizes that are doubled for as long as that leaves fewer norms one value of a sample.

    ``rooms`` are those of ``feed``, and ``measured`` gives those of others; None: it does not run.
    """
    best, other, idle = (feed, rooms), feed, 0
    while _single(best[1]) and idle < 2 and (doubled := larger(other)) is not None:
        other, grown = doubled, measured(doubled)
        if _single(grown) < _single(best[1]):
            best, idle = (other, grown), 0
        else:
            idle += 1
    return best


def _single(rooms: meta.Rooms | None) -> float:
    """How many calls of norms have one value in a channel of a sample."""
    return math.inf if rooms is None else sum(room == 1 for _, room in rooms)


def _most(rooms: meta.Rooms | None) -> int:
    return max((room for _, room in rooms or ()), default=0)


def _are_enough(now: meta.Rooms | None, before: meta.Rooms | None) -> bool:
    """Whether smaller inputs leave norms as many values as they need, or as they had.

    Of a norm that is called with maps of several sizes the largest counts; the others keep two.
    """
    if now is None or before is None or len(now) != len(before):
        return False
    spared = all(left >= min(had, 2) for (_, left), (_, had) in zip(now, before, strict=True))
    largest = {norm: max(room for each, room in now if each == norm) for norm, _ in now}
    needed = {norm: max(room for each, room in before if each == norm) for norm, _ in before}
    return spared and all(largest.get(norm, 0) >= min(needed[norm], _ROOM) for norm in needed)


def _said(example: Example, job: Job) -> Feed:
    """An example's inputs; the text of one is evaluated, with torch at hand.

    The values are the user's, but for those in calls that the project happens to make.
    """
    seed_all(job.seed)
    with meta.CPU:
        parts = [
            eval(said, {"torch": torch, "nn": nn}) if isinstance(said, str) else Spec(said)
            for said in example.inputs
        ]
    sizes = [part.shape for part in tree_leaves(parts) if isinstance(part, (Spec, torch.Tensor))]
    batch = next((size[0] for size in sizes if size), 1) if example.batch else 0
    is_users = not any(example is call for call in job.calls)

    def leaf(part: Any) -> Any:
        if isinstance(part, torch.Tensor):
            return replace(describe_tensor(part, batch), given=part.detach() if is_users else None)
        if isinstance(part, Spec):
            shape = (1, *part.shape[1:]) if batch else part.shape
            return replace(part, shape=shape, batched=batch > 0)
        return part

    return Feed(tuple(parts), {}).map(leaf)
