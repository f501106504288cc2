"""From one file to another: which format, what goes, and the new file in its place."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from bncodemod.checkpoint import safetensors_file, torch_file
from bncodemod.checkpoint.atomic import check_free, new_file
from bncodemod.checkpoint.counterpart import narrowed
from bncodemod.checkpoint.errors import CheckpointError
from bncodemod.checkpoint.norm_keys import Decide, Plan, Selection, Shape, plan
from bncodemod.checkpoint.safetensors_file import SafetensorsFile
from bncodemod.checkpoint.torch_file import TorchFile

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
    source: str,
    target: str,
    selection: Selection | None = None,
    *,
    like: str | None = None,
    force: bool = False,
) -> Migration:
    """Write ``source`` to ``target`` without the running statistics of norms.

    Of these, norms that the checkpoint ``like`` has them for keep them. Where there are none to
    drop, nothing is written. Raises CheckpointError.
    """
    _check_target(source, target, force=force)
    decide: Decide = partial(plan, selection=selection or Selection())
    if like is not None:
        decide = partial(_as_in, _state_dicts(like), decide)
    with _read(source) as (checkpoint, safetensors):
        _check_suffix(source, target, safetensors)
        found = tuple(StateDict(*pair) for pair in checkpoint.plan(decide))
        written = any(state.plan.norms for state in found)
        if written:
            with new_file(target, force=force) as output:
                checkpoint.write(output)
    return Migration(found, written)


def _as_in(likes: list[dict[str, Shape]], decide: Decide, shapes: Mapping[str, Shape]) -> Plan:
    return narrowed(decide(shapes), shapes, likes)


def _state_dicts(path: str) -> list[dict[str, Shape]]:
    with _read(path) as (checkpoint, _):
        return checkpoint.state_dicts()


@contextlib.contextmanager
def _read(path: str) -> Iterator[tuple[SafetensorsFile | TorchFile, bool]]:
    """What a file holds, and whether it is a safetensors file."""
    with _opened(path) as stream:
        safetensors = safetensors_file.is_safetensors(stream.read(9))
        yield safetensors_file.read(stream) if safetensors else torch_file.read(path), safetensors


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
