"""What ``torch.save`` wrote: read with ``weights_only=True``, so that no code of the file runs.

Keys are taken out of the mappings that were read. All else is written as it was: types, dtypes,
strides, tensors that share memory, and the ``_metadata`` of state dicts. Tensors end on the CPU.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from bncodemod.checkpoint.errors import CheckpointError
from bncodemod.checkpoint.nested import drop, plans, state_dicts
from bncodemod.checkpoint.norm_keys import Decide, Plan, Shape
from bncodemod.checkpoint.plain_data import allowed

_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


@dataclass
class TorchFile:
    """What a file held."""

    checkpoint: Any
    _planned: list[tuple[Plan, MutableMapping[Any, Any]]] = field(default_factory=list)

    def state_dicts(self) -> list[dict[str, Shape]]:
        """The shapes in every state dict in it."""
        return [shapes for _, shapes, _ in state_dicts(self.checkpoint, _shape)]

    def plan(self, decide: Decide) -> Iterator[tuple[str, Plan]]:
        """Every state dict with running statistics, as (its place, what becomes of it)."""
        for place, found, mapping in plans(self.checkpoint, _shape, decide):
            self._planned.append((found, mapping))
            yield place, found

    def write(self, target: BinaryIO) -> None:
        """Write it without the keys that were planned to go."""
        import torch

        for found, mapping in self._planned:
            drop(found, mapping)
        try:
            torch.save(self.checkpoint, target)
        except RuntimeError as error:  # also what a full disk becomes
            raise CheckpointError(f"torch cannot write the file: {_first_line(error)}") from None


def read(path: str) -> TorchFile:
    """Read a file; raises CheckpointError where torch is missing or refuses it."""
    try:
        import torch
    except ImportError:
        raise CheckpointError(
            "this file was written by torch.save, and torch is not installed",
            remedy="python -m pip install torch (safetensors files need none)",
        ) from None
    if _is_script(path):
        raise CheckpointError(
            "the file is a TorchScript archive, with the code of its module",
            remedy="if you trust the file, save its state dict in Python:"
            " torch.save(torch.jit.load(…).state_dict(), …)",
        )
    try:
        with allowed():
            checkpoint = torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except pickle.UnpicklingError as error:
        raise _refused(error) from None
    except Exception as error:  # of a damaged file torch raises every kind
        raise CheckpointError(f"torch cannot read the file: {_first_line(error)}") from None
    return TorchFile(checkpoint)


def _is_script(path: str) -> bool:
    """Whether ``torch.jit.save`` has written a file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _refused(error: pickle.UnpicklingError) -> CheckpointError:
    foreign = _GLOBAL.search(str(error))
    if foreign is None:
        return CheckpointError(f"torch cannot read the file: {_first_line(error)}")
    return CheckpointError(
        f"the file holds more than tensors and plain data: {foreign[1]}, whose code would run",
        remedy="if you trust the file, load it in Python with torch.load(…, weights_only=False) and"
        " save what counts: torch.save(model.state_dict(), …), or without the foreign objects",
    )


def _shape(value: Any) -> Shape | None:
    import torch

    return tuple(value.shape) if isinstance(value, torch.Tensor) else None


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0]
