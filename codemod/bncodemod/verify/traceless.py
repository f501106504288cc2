"""Runs of a model that leave no trace in it: counters, caches and histories are as they were."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

_DICTS = frozenset({dict, OrderedDict, defaultdict})
_LISTS = frozenset({list, deque})
# What torch gives each module, but for what it registers.
_HOOKS = frozenset(vars(nn.Module())) - {"_parameters", "_buffers", "_modules"}


class Traceless:
    """While open (``with``), a module may run; then its attributes and buffers are as they were.

    So are the containers that it holds. Left as they are: the values of parameters, torch's own
    layers, objects of other classes, and models with lazy layers, which a run gives their shapes.
    What is put back is what the module held when this was made, however often this is opened.
    """

    def __init__(self, module: nn.Module) -> None:
        self._dicts: list[tuple[dict[Any, Any], dict[Any, Any]]] = []
        self._lists: list[tuple[Any, list[Any]]] = []
        self._sets: list[tuple[set[Any], set[Any]]] = []
        self._values: list[tuple[Tensor, Tensor]] = []
        self._is_lazy = False
        seen: set[int] = set()
        waiting: list[Any] = [module]
        while waiting:
            value = waiting.pop()
            if id(value) not in seen:
                seen.add(id(value))
                waiting += self._parts(value)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: object) -> None:
        if not self._is_lazy:
            self._put_back()

    def _parts(self, value: Any) -> Iterator[Any]:
        kind = type(value)
        if issubclass(kind, torch.jit.ScriptModule):
            return
        self._is_lazy |= issubclass(kind, LazyModuleMixin)
        if issubclass(kind, nn.Module) and kind.__module__.startswith("torch.nn."):
            yield from vars(value)["_modules"].values()  # its own forward changes no attribute
        elif issubclass(kind, nn.Module):
            held = vars(value)
            self._dicts.append((held, dict(held)))
            yield from (each for name, each in held.items() if name not in _HOOKS)
        elif kind in _DICTS:
            self._dicts.append((value, dict(value)))
            yield from value.values()
        elif kind in _LISTS:
            self._lists.append((value, list(value)))
            yield from value
        elif kind is set:
            self._sets.append((value, set(value)))
        elif kind is Tensor and value.device.type == "cpu":
            self._values.append((value, value.detach().clone()))

    def _put_back(self) -> None:
        for held, had in self._dicts:
            if held.keys() != had.keys() or any(held[key] is not had[key] for key in had):
                held.clear()
                held.update(had)
        for items, were in self._lists:
            if len(items) != len(were) or any(a is not b for a, b in zip(items, were, strict=True)):
                items.clear()
                items.extend(were)
        for members, had_members in self._sets:
            members.intersection_update(had_members)
            members.update(had_members)
        for tensor, value in self._values:
            if tensor.shape == value.shape:
                tensor.data.copy_(value)
