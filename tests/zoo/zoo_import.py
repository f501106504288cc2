"""What the two worker processes of the zoo share: the package's copy first on ``sys.path``."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pathlib
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors

TESTS = pathlib.Path(__file__).resolve().parents[1]
NN_FOLDER = str(pathlib.Path(torch.nn.__file__).parent)


def import_package(root: pathlib.Path, package: str) -> None:
    """Import ``package`` from ``root`` and from nowhere else."""
    sys.path.insert(0, str(root))
    sys.path.append(str(TESTS))
    import torchvision_import

    torchvision_import.prepare()
    warnings.simplefilter("ignore")
    module = importlib.import_module(package)
    assert module.__file__
    assert pathlib.Path(module.__file__).is_relative_to(root), f"{package} is not the copy"
    importlib.import_module(f"{package}.models")


def model_names(package: str) -> list[str]:
    names: list[str] = importlib.import_module(f"{package}.models").list_models()
    return names


def family(package: str, name: str) -> str:
    """The module that defines a registered model."""
    return str(_entry_point(package, name).__module__)


def builder(package: str, name: str) -> Callable[..., torch.nn.Module]:
    """A function of keyword arguments that builds a registered model without any weights."""
    function = _entry_point(package, name)
    weights = dict.fromkeys(n for n in inspect.signature(function).parameters if "weights" in n)
    return lambda **kwargs: function(**{**weights, **kwargs})


def _entry_point(package: str, name: str) -> Callable[..., torch.nn.Module]:
    models: Any = importlib.import_module(f"{package}.models")
    find = models.model_entrypoint if package == "timm" else models.get_model_builder
    function: Callable[..., torch.nn.Module] = find(name)
    return function


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
