"""Building without downloads: pretrained values say nothing about vmap."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import _IncompatibleKeys


@contextmanager
def offline() -> Iterator[None]:
    """No connection is made, and weights that would be downloaded are left out.

    What ``torch.hub`` would download is an empty state dict instead, in a folder of its own;
    loading an empty state dict keeps the initial values. The Hugging Face hub refuses at once, as
    it would try a connection that fails again and again.
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
        hub = sys.modules.get("huggingface_hub.constants")
        if hasattr(hub, "HF_HUB_OFFLINE"):
            stack.enter_context(replaced(hub, "HF_HUB_OFFLINE", True))
        yield


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
