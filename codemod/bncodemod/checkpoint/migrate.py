"""From one file to another: which format, what goes, and the new file in its place."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from bncodemod.checkpoint import safetensors_file, torch_file
from bncodemod.checkpoint.atomic import check_free, new_file
from bncodemod.checkpoint.errors import CheckpointError
from bncodemod.checkpoint.norm_keys import Plan, Selection

_SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class StateDict:
    """A state dict of the file: its place, as ``state_dict`` or ``models[0]``, and its plan."""

    place: str
    plan: Plan


@dataclass(frozen=True, slots=True)
class Migration:
    """What was found; ``written`` only if something was dropped."""

    state_dicts: tuple[StateDict, ...]
    written: bool


def migrate(
    source: str, target: str, selection: Selection | None = None, *, force: bool = False
) -> Migration:
    """Write ``source`` to ``target`` without the running statistics of norms.

    Where there are none, nothing is written. Raises CheckpointError.
    """
    _check_target(source, target, force=force)
    with _opened(source) as stream:
        safetensors = safetensors_file.is_safetensors(stream.read(9))
        _check_suffix(source, target, safetensors)
        checkpoint = safetensors_file.read(stream) if safetensors else torch_file.read(source)
        found = tuple(StateDict(*pair) for pair in checkpoint.plan(selection or Selection()))
        written = any(state.plan.norms for state in found)
        if written:
            with new_file(target, force=force) as output:
                checkpoint.write(output)
    return Migration(found, written)


def _check_target(source: str, target: str, *, force: bool) -> None:
    with contextlib.suppress(OSError):  # one that is not there cannot be the same
        if os.path.samefile(source, target):
            raise CheckpointError(
                f"{target} is the input, which is never overwritten", remedy="name another file"
            )
    check_free(target, force=force)


def _check_suffix(source: str, target: str, safetensors: bool) -> None:
    """Raise CheckpointError where the name of OUT promises another format than IN has."""
    if safetensors != target.endswith(_SUFFIX):
        is_, ends = ("a", "ends") if safetensors else ("not a", "does not end")
        raise CheckpointError(
            f"{source} is {is_} safetensors file, and formats are not converted",
            remedy=f"name an output that {ends} in {_SUFFIX}",
        )


@contextlib.contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    if os.path.isdir(path):
        raise CheckpointError(
            f"{path} is a folder: sharded checkpoints are not read",
            remedy="name one file; shards of a safetensors checkpoint can be migrated one by one",
        )
    try:
        with open(path, "rb") as stream:
            yield stream
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None
