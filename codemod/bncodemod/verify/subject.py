"""What the checks are given: a model on the device, made so that faults show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from bncodemod.verify.assignments import Assigned
from bncodemod.verify.calling import Arguments, copied, run
from bncodemod.verify.inputs import Inputs
from bncodemod.verify.meta import device_of, is_lazy
from bncodemod.verify.model import Check, CheckResult, Job, Outcome, Site
from bncodemod.verify.prepare import Prepared
from bncodemod.verify.randomness import Drawn, switch_off_randomness
from bncodemod.verify.recorder import Recorder, norms_in
from bncodemod.verify.reproducible import seed_all

# Samples in a batch: more than two, whose normed values are all 1 and -1, and a number that seldom
# divides that of the channels, so that the axes can be told from each other.
BATCH = 5
STACK = 2  # batches under vmap, samples for gradients, models of an ensemble

_EVEN = 12**0.5  # what even noise of this width spreads is 1


@dataclass
class Subject:
    """A candidate that was built and fed, and the sites that ran in it."""

    name: str
    prepared: Prepared
    job: Job
    sites: tuple[Site, ...]
    roots: Sequence[str]
    recorder: Recorder
    notes: list[str] = field(default_factory=list)
    # What one check has found out and another one uses: whether only batch norms ran, on their
    # batch; a model that has run under vmap, with the lines that assigned to its attributes;
    # whether the device was tried with random layers on; and what vmap is to be told of them.
    is_batch_normed: bool | None = None
    mapped: tuple[nn.Module, Assigned] | None = None
    was_used: bool = False
    drawn: Drawn | None = None
    remarks: list[CheckResult] = field(default_factory=list)  # beside what a check comes to
    _new: nn.Module | None = None
    _kept: nn.Module | None = None

    @property
    def device(self) -> torch.device:
        return torch.device(self.job.device)

    @property
    def built_on(self) -> torch.device:
        """Where :meth:`built` stands: on meta, or on the CPU."""
        return device_of(self.prepared.constructed.module)

    def built(self) -> nn.Module:
        """A copy of the model as it was first built."""
        if self.built_on.type == "meta":
            module = copied(self.prepared.constructed.module)
        else:  # where the search for inputs may have changed its values
            module = self.rebuilt(self.built_on)
        module.train()
        return module

    def used(self) -> nn.Module:
        """A copy of the model in train mode, with its random layers on."""
        return copied(self.kept())

    def fresh(self, dtype: torch.dtype | None = None) -> nn.Module:
        """A copy of the model in train mode; random layers are off, norms weigh their channels."""
        module = self.used()
        if quieted := switch_off_randomness(module):
            self.note(f"switched off to compare: {', '.join(quieted)}")
        return module if dtype is None else module.to(dtype)

    def kept(self) -> nn.Module:
        """What :meth:`used` and :meth:`fresh` copy; to be looked at only."""
        if self._kept is None:
            # What is to be held against the original is kept as it was built, too.
            self._kept = self.new() if self.job.original_root else self.rebuilt(self.device)
            weigh_channels(self._kept, self.job.seed)
        return self._kept

    def new(self) -> nn.Module:
        """A copy of the model as it is built on the device."""
        if self._new is None:
            self._new = self.rebuilt(self.device)
        return copied(self._new)

    def rebuilt(self, device: torch.device, seed: int = 0) -> nn.Module:
        """The model as it is built on a device from a seed."""
        seed_all(self.job.seed + seed)
        module = self.prepared.constructed.rebuild(device)
        module.train()
        self.fill(module, device)
        return module

    def fill(self, module: nn.Module, device: torch.device) -> None:
        """Run a module on its device, from the job's seed, if its inputs give it its shapes."""
        if any(map(is_lazy, (*module.parameters(), *module.buffers()))):
            seed_all(self.job.seed)
            with torch.no_grad(), device:
                run(module, self.feed(device=device))

    def feed(
        self,
        *,
        batch: int = BATCH,
        stack: int | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        seed: int | None = None,
    ) -> Arguments:
        """Inputs; ``stack`` adds an axis in front of the batch."""
        return self.prepared.inputs.make(
            device or self.device,
            batch=batch,
            stack=stack,
            seed=self.job.seed if seed is None else seed,
            dtype=dtype,
        )

    def rehearsed(self, inputs: Inputs) -> Exception | None:
        """What a plain run on the device with other inputs ends in."""
        arguments = inputs.make(self.device, batch=BATCH, seed=self.job.seed)
        try:
            with torch.no_grad():
                run(self.fresh(), arguments)
        except Exception as error:
            return error
        return None

    def tell(self, drawn: Drawn) -> None:
        """Remark on what vmap is to be told, once."""
        if self.drawn is None:
            self.drawn, place = drawn, drawn.place
            self.remarks.append(
                CheckResult(
                    Check.VMAP,
                    Outcome.NOTED,
                    drawn.message,
                    place.cause,
                    drawn.remedy,
                    place.path,
                    place.line,
                )
            )

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def weigh_channels(module: nn.Module, seed: int) -> None:
    """Give norms weights other than 0 and 1, so that none hides what comes out of it.

    Some models start with the weight 0 in the last norm of a block, which would then be unseen.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, norm in norms_in(module):
            for name, middle in (("weight", 1.0), ("bias", 0.0)):
                parameter = getattr(norm, name, None)
                if isinstance(parameter, nn.Parameter):
                    noise = torch.randn(parameter.shape, generator=generator)
                    parameter.copy_(middle + 0.1 * noise)


def varied(module: nn.Module, seed: int) -> nn.Module:
    """The model with other parameters: each is moved by a tenth of what its values spread."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.is_floating_point() and parameter.numel():
                # Even noise is made in a third of the time that normal noise takes.
                noise = torch.rand(parameter.shape, generator=generator, dtype=parameter.dtype)
                scale = 0.1 * float(parameter.norm(1)) / parameter.numel() + 1e-3
                parameter.add_(noise.sub_(0.5).to(parameter.device), alpha=_EVEN * scale)
    return module
