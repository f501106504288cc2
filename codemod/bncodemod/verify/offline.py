"""Building without downloads: pretrained values say nothing about vmap."""

from __future__ import annotations

import functools
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import _IncompatibleKeys

from bncodemod.verify.hub import without_downloads

_PATHS = (str, bytes, os.PathLike)


@contextmanager
def offline() -> Iterator[None]:
    """No connection is made, and weights that would be downloaded are left out.

    What ``torch.hub`` would download is an empty state dict instead, in a folder of its own, and so
    is a checkpoint that is not there; loading an empty state dict keeps the initial values. So are
    weights of the Hugging Face hub; all else it has only if it was downloaded before.
    """
    load = nn.Module.load_state_dict

    # The parameters have the names that callers may give them by.
    def load_nothing(
        self: nn.Module, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        if not state_dict:
            return _IncompatibleKeys([], [])
        return load(self, state_dict, *args, **kwargs)

    def write_nothing(url: str, dst: str, *args: Any, **kwargs: Any) -> None:
        torch.save({}, dst)

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise OSError("the network is off while models are verified")

    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bncodemod-"))
        stack.enter_context(replaced(torch.hub, "get_dir", lambda: os.path.join(folder, "hub")))
        stack.enter_context(replaced(torch.hub, "download_url_to_file", write_nothing))
        stack.enter_context(replaced(socket.socket, "connect", refuse))
        stack.enter_context(replaced(nn.Module, "load_state_dict", load_nothing))
        stack.enter_context(without_downloads(folder))
        # As it would try a connection that fails again and again.
        hub = sys.modules.get("huggingface_hub.constants")
        if hasattr(hub, "HF_HUB_OFFLINE"):
            stack.enter_context(replaced(hub, "HF_HUB_OFFLINE", True))
        stack.enter_context(replaced(torch, "load", _without_missing_files(torch.load)))
        yield


class Nothing(dict[str, Any]):
    """What stands for a checkpoint that is not there: empty, and so is all that it holds."""

    def __missing__(self, key: str) -> Nothing:
        return Nothing()


def _without_missing_files(load: Callable[..., Any]) -> Callable[..., Any]:
    """``torch.load`` that finds an empty checkpoint where there is no file."""

    @functools.wraps(load)
    def loading(file: Any, *args: Any, **kwargs: Any) -> Any:
        if hasattr(file, "read") or (isinstance(file, _PATHS) and os.path.exists(file)):
            return load(file, *args, **kwargs)
        return Nothing()

    return loading


@contextmanager
def replaced(holder: Any, name: str, value: Any) -> Iterator[None]:
    """``holder.name`` is ``value`` for a while."""
    own = name in vars(holder)
    before = getattr(holder, name)
    setattr(holder, name, value)
    try:
        yield
    finally:
        if own:
            setattr(holder, name, before)
        else:
            delattr(holder, name)
