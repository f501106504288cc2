"""Blocks that put models into eval mode, watched: which modules they ran, and in which mode.

What is called at such a site gives a watched context manager in the place of its own. Before a
block is entered the helper is put to the test on the block's models: some parts in train mode and
some in eval mode, left by the end of the block and by an exception.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import Any

import torch
import torch._functorch.eager_transforms
import torch._functorch.vmap
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from bncodemod.strategies.eval_mode import HELPER
from bncodemod.verify.marks import WATCHERS
from bncodemod.verify.model import Site, SiteKind
from bncodemod.verify.offline import replaced
from bncodemod.verify.recorder import NORMS, place_of

Helper = Callable[..., AbstractContextManager[Any]]


@dataclass
class Block:
    """One run of a block.

    ``ran`` counts the norms that ran in it, ``transformed`` those that did so under a transform
    that came to its end; ``training`` says which of its modules were in train mode then;
    ``unrestored`` is what the helper does wrong with modes, empty if nothing; ``error`` what ended
    the block early, ``stopped`` what ended a transform in it, caught there or not.
    """

    site: Site
    ran: int = 0
    transformed: int = 0
    training: str = ""
    unrestored: str = ""
    error: BaseException | None = None
    stopped: BaseException | None = None
    modules: set[nn.Module] = field(default_factory=set, repr=False)


# What every transform of torch.func runs its function in.
_LEVELS = (
    (torch._functorch.vmap, "vmap_increment_nesting"),
    (torch._functorch.eager_transforms, "grad_increment_nesting"),
    (torch._functorch.eager_transforms, "jvp_increment_nesting"),
)
blocks: list[Block] = []  # those that were run, in order, until they are forgotten


class _Probe(Exception):
    """Raised in a block to see what the helper does then."""


class _Watched(AbstractContextManager[Any]):
    def __init__(self, site: Site, helper: Helper, models: tuple[Any, ...]) -> None:
        self._helper, self._models = helper, models
        self._block = Block(site, modules=set(_modules(models)))
        self._stack = ExitStack()
        self._modes: dict[nn.Module, bool] = {}

    def __enter__(self) -> Any:
        blocks.append(self._block)
        self._block.unrestored = _fault(self._helper, self._models)
        self._modes = _modes(self._models)
        self._stack.callback(register_module_forward_pre_hook(self._note).remove)
        for holder, name in _LEVELS:
            whole = getattr(holder, name, None)
            if whole is not None:
                self._stack.enter_context(replaced(holder, name, self._watching(whole)))
        return self._stack.enter_context(self._helper(*self._models))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        self._block.error = error
        try:
            return self._stack.__exit__(kind, error, trace)
        finally:
            changed = _changed(self._modes)
            if changed and not self._block.unrestored:
                self._block.unrestored = f"behind the block {changed} is not in the mode it was in"
            self._block.modules.clear()  # the record outlives the model

    def _watching(self, level: Callable[..., AbstractContextManager[Any]]) -> Any:
        """A transform's context manager that forgets the norms below it if it ends by an error."""

        @contextmanager
        def watched(*args: Any, **kwargs: Any) -> Iterator[Any]:
            before = self._block.transformed
            try:
                with level(*args, **kwargs) as entered:
                    yield entered
            except BaseException as error:
                self._block.transformed, self._block.stopped = before, error
                raise

        return watched

    def _note(self, module: nn.Module, inputs: Any) -> None:
        block = self._block
        under = _is_transformed()
        if isinstance(module, NORMS):
            block.ran += 1
            block.transformed += under
            in_use = getattr(module, "running_mean", None) is not None
        else:
            in_use = False
        if module.training and (in_use or module in block.modules):
            block.training = place_of(module) if isinstance(module, NORMS) else _name(module)


def _is_transformed() -> bool:
    """Whether a transform of torch.func, or one of torch.autograd.functional, is at work."""
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return True
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename == torch.autograd.functional.__file__:
            return True
        frame = frame.f_back
    return False


def _watched(site: Site, helper: Helper) -> Helper:
    if getattr(helper, "__name__", "").lstrip("_") != HELPER:
        return helper  # another item of the same statement

    @functools.wraps(helper)
    def watching(*models: Any) -> AbstractContextManager[Any]:
        return _Watched(site, helper, models)

    return watching


def _fault(helper: Helper, models: tuple[Any, ...]) -> str:
    """What the helper does wrong with the modes of models of which parts are frozen."""
    saved = _modes(models)
    try:
        for fails in (False, True):
            for number, module in enumerate(saved):
                module.training = number % 2 == 0  # the model itself is in train mode
            mixed = _modes(models)
            try:
                with helper(*models):
                    if left := next((m for m in saved if m.training), None):
                        return f"{_name(left)} is not in eval mode in the block"
                    if fails:
                        raise _Probe
            except _Probe:
                pass
            if changed := _changed(mixed):
                when = "after an exception " if fails else "behind the block "
                return f"{when}{changed} is not in the mode it was in"
    finally:
        for module, mode in saved.items():
            module.training = mode
    return ""


def _modules(models: Iterable[Any]) -> list[nn.Module]:
    return [m for model in models if isinstance(model, nn.Module) for m in model.modules()]


def _modes(models: Iterable[Any]) -> dict[nn.Module, bool]:
    return {module: module.training for module in _modules(models)}


def _changed(modes: dict[nn.Module, bool]) -> str:
    """The first module that is in another mode; empty if none is."""
    for module, mode in modes.items():
        if module.training is not mode:
            return f"{_name(module)}{'' if mode else ', which was frozen,'}"
    return ""


def _name(module: nn.Module) -> str:
    return f"a {type(module).__name__}"


WATCHERS[SiteKind.BLOCK] = _watched
