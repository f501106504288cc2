"""The Hugging Face hub without downloads: weights are empty, and all else must be there already."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import struct
import sys
import tempfile
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

_DOWNLOADS = "huggingface_hub.file_download"
# What all downloads of the hub come to, however its functions were imported.
_FUNCTIONS = ("_hf_hub_download_to_cache_dir", "_hf_hub_download_to_local_dir")
_WEIGHTS = (".safetensors", ".bin", ".pth", ".pt", ".ckpt", ".tar")
_EMPTY_SAFETENSORS = struct.pack("<Q", 2) + b"{}"  # the length of its header, and that
_REMEDY = "the verifier downloads nothing: have it downloaded before, or build without it"
# It asks for a file only to have the download counted.
_COUNTING = ("segmentation_models_pytorch.encoders", "config.json")

_folders: list[str] = []  # for what is not downloaded, innermost last; none: downloads are left be


@contextmanager
def without_downloads(folder: str) -> Iterator[None]:
    """Have the hub give empty weights, from below ``folder``, and say why it gives nothing else."""
    if _DOWNLOADS in sys.modules:
        _guard(sys.modules[_DOWNLOADS])
    elif not any(isinstance(each, _Finder) for each in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    _folders.append(folder)
    try:
        yield
    finally:
        _folders.pop()


def _guard(module: types.ModuleType) -> None:
    for name in _FUNCTIONS:
        function = getattr(module, name, None)
        if function is not None and not hasattr(function, "__wrapped__"):
            setattr(module, name, _guarded(function, module))


def _guarded(download: Callable[..., Any], module: types.ModuleType) -> Callable[..., Any]:
    def guarded(*args: Any, **kwargs: Any) -> Any:
        name = os.path.basename(str(kwargs.get("filename", "")))
        if not _folders:
            return download(*args, **kwargs)
        if name.endswith(_WEIGHTS):
            return _empty(name)
        try:
            return download(*args, **{**kwargs, "local_files_only": True})
        except module.LocalEntryNotFoundError as error:
            if (_caller(), name) == _COUNTING:
                return os.path.join(_folders[-1], _REMEDY, name)
            where = f"{name} of {kwargs.get('repo_id', 'the hub')} is not on this machine"
            raise type(error)(f"{where}; {_REMEDY}") from None

    guarded.__wrapped__ = download  # type: ignore[attr-defined]
    return guarded


def _caller() -> str:
    """The module that asks the hub for a file."""
    frame: types.FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("huggingface_hub"):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", "")) if frame is not None else ""


def _empty(name: str) -> str:
    """The path of a file of weights without any."""
    path = os.path.join(tempfile.mkdtemp(dir=_folders[-1]), name)
    if name.endswith(".safetensors"):
        with open(path, "wb") as file:
            file.write(_EMPTY_SAFETENSORS)
    else:
        torch.save({}, path)
    return path


class _Finder(importlib.abc.MetaPathFinder):
    """Guards the downloads as soon as they are imported."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _DOWNLOADS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is importlib.machinery.SourceFileLoader:
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: types.ModuleType) -> None:
        super().exec_module(module)
        _guard(module)
