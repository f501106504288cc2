"""What the two worker processes of the zoo share: the copies first on ``sys.path``."""

from __future__ import annotations

import contextlib
import importlib
import pathlib
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors
from zoo_packages import PACKAGES, Package

TESTS = pathlib.Path(__file__).resolve().parents[1]
NN_FOLDER = str(pathlib.Path(torch.nn.__file__).parent)


def import_package(root: pathlib.Path, name: str) -> Package:
    """Import a package of the zoo from ``root`` and from nowhere else."""
    sys.path.insert(0, str(root))
    sys.path.append(str(TESTS))
    import torchvision_import

    torchvision_import.prepare()
    warnings.simplefilter("ignore")
    package = PACKAGES[name]
    for copied in package.rewritten:
        module = importlib.import_module(copied)
        assert module.__file__
        assert pathlib.Path(module.__file__).is_relative_to(root), f"{copied} is not the copy"
    return package


class LayersOnMeta(TorchFunctionMode):
    """Puts what torch.nn's own layers create on the meta device, and nothing else.

    For models whose constructors compute widths or tables with tensors.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _device_constructors() and kwargs.get("device") is None:
            caller = sys._getframe(1).f_code.co_filename
            if caller.startswith(NN_FOLDER):
                kwargs = {**kwargs, "device": "meta"}
        return func(*args, **kwargs)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Bit-identical sums need the same split of the work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
