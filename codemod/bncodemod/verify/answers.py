"""The model in what a function gives back, which may hold other things or several models."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any

from torch import nn

from bncodemod.verify.looking import is_instance


class Together(nn.ModuleList):
    """Runs each of its models on inputs of its own: ``(args, kwargs)``."""

    def forward(self, *feeds: tuple[tuple[Any, ...], dict[str, Any]]) -> tuple[Any, ...]:
        return tuple(
            model(*args, **kwargs) for model, (args, kwargs) in zip(self, feeds, strict=True)
        )


def module_of(answer: Any) -> Any:
    """The module of an answer; the answer itself if there is none.

    Of a tuple it is the first, as in ``return stem, channels``; those of a list or dict are put
    together, and so are those of an object that is no module itself. What only hands calls on, as
    DataParallel does, which functional calls refuse, is left away.
    """
    models = list(dict.fromkeys(map(_unwrapped, _modules(answer))))
    if not models:
        return answer
    return models[0] if len(models) == 1 or is_instance(answer, tuple) else Together(models)


def _modules(answer: Any) -> Iterator[nn.Module]:
    if is_instance(answer, nn.Module):
        yield answer
        return
    if is_instance(answer, dict):
        values = list(answer.values())
    elif is_instance(answer, list, tuple):
        values = list(answer)
    elif inspect.isclass(answer) or inspect.isroutine(answer):
        values = []
    else:
        values = list(getattr(answer, "__dict__", {}).values())
    yield from (value for value in values if is_instance(value, nn.Module))


def _unwrapped(model: Any) -> Any:
    compiler = sys.modules.get("torch._dynamo.eval_frame")
    while True:
        if is_instance(model, nn.DataParallel, nn.parallel.DistributedDataParallel):
            model = model.module
        elif compiler is not None and is_instance(model, compiler.OptimizedModule):
            model = vars(model)["_modules"]["_orig_mod"]
        else:
            return model
