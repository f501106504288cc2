"""safetensors files: the header is edited and the tensors' bytes are copied, nothing is decoded.

The format is eight bytes with the length of a JSON header, the header, and the tensors without
gaps. Working on it directly keeps every dtype, the metadata and the order, needs neither torch nor
the safetensors package, and no more memory than one block.
"""

from __future__ import annotations

import json
import os
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

from bncodemod.checkpoint.errors import CheckpointError
from bncodemod.checkpoint.norm_keys import Decide, Plan, Shape

_LENGTH = struct.Struct("<Q")
_MAX_HEADER = 100_000_000  # the format's own limit
_METADATA = "__metadata__"
_BLOCK = 1 << 20
_ALIGNMENT = 8


def is_safetensors(start: bytes) -> bool:
    """Whether a file that begins so is one: a length and an opening brace."""
    return len(start) > 8 and start[8:9] == b"{" and _LENGTH.unpack(start[:8])[0] <= _MAX_HEADER


@dataclass
class SafetensorsFile:
    """An open file and its header."""

    stream: BinaryIO
    header: dict[str, Any]
    data_start: int
    dropped: frozenset[str] = frozenset()  # the keys that are planned to go

    def state_dicts(self) -> list[dict[str, Shape]]:
        """The shapes in the one state dict that such a file holds."""
        return [{key: tuple(info["shape"]) for key, info in self._tensors().items()}]

    def plan(self, decide: Decide) -> list[tuple[str, Plan]]:
        """That state dict, as (its place, what becomes of it)."""
        planned = decide(self.state_dicts()[0])
        self.dropped = frozenset(planned.dropped)
        return [("", planned)]

    def write(self, target: BinaryIO) -> None:
        """Write the file without the keys that were planned to go."""
        kept = {key: info for key, info in self._tensors().items() if key not in self.dropped}
        header = {_METADATA: self.header[_METADATA]} if _METADATA in self.header else {}
        spans = []
        end = 0
        for key, info in sorted(kept.items(), key=lambda item: item[1]["data_offsets"]):
            first, last = info["data_offsets"]
            spans.append((first, last))
            header[key] = {**info, "data_offsets": [end, end + last - first]}
            end += last - first
        # The tensors lie in the order of their offsets, the header keeps its own.
        ordered = {key: header[key] for key in self.header if key in header}
        text = json.dumps(ordered, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % _ALIGNMENT)
        target.write(_LENGTH.pack(len(text)) + text)
        for first, last in spans:
            self._copy(first, last, target)

    def _tensors(self) -> dict[str, Any]:
        return {key: info for key, info in self.header.items() if key != _METADATA}

    def _copy(self, first: int, last: int, target: BinaryIO) -> None:
        self.stream.seek(self.data_start + first)
        left = last - first
        while left:
            block = self.stream.read(min(left, _BLOCK))
            if not block:
                raise CheckpointError("the safetensors file changed while it was read")
            target.write(block)
            left -= len(block)


def read(stream: BinaryIO) -> SafetensorsFile:
    """Read the header; raises CheckpointError where it does not fit the file."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    length = _LENGTH.unpack(stream.read(_LENGTH.size))[0]
    data_start = _LENGTH.size + length
    try:
        header = json.loads(stream.read(length))
        end = _end_of_tensors([info for key, info in header.items() if key != _METADATA])
    except (ValueError, TypeError, KeyError, AttributeError):
        raise CheckpointError("the header of the safetensors file is damaged") from None
    if end != size - data_start:
        raise CheckpointError("the safetensors file is damaged, or was not written to its end")
    return SafetensorsFile(stream, header, data_start)


def _end_of_tensors(tensors: list[Any]) -> int:
    """Where the last tensor ends; raises ValueError where there are gaps or no such tensors."""
    end = 0
    for first, last in sorted(_sizes(info["data_offsets"], 2) for info in tensors):
        if first != end or last < first:
            raise ValueError("the tensors do not lie one behind the other")
        end = last
    for info in tensors:
        _sizes(info["shape"], len(info["shape"]))
    return end


def _sizes(numbers: Any, length: int) -> list[int]:
    """A JSON list of so many sizes; raises ValueError for anything else."""
    if not isinstance(numbers, list) or len(numbers) != length:
        raise ValueError(f"{numbers!r} is no list of {length} sizes")
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError(f"{numbers!r} holds what is no size")
    return numbers
