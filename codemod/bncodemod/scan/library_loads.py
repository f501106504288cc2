"""Calls by which another library loads a checkpoint into models: Lightning, Accelerate and others.

They call ``load_state_dict`` themselves, most of them strictly, and no name of the user's says so.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from bncodemod.scan.libraries import argument, uses_of
from bncodemod.scan.names import Names

# Methods of Lightning's Trainer, which are given the model first, if at all.
_TRAINER = ("fit", "test", "validate", "predict")
_CHECKPOINT = "ckpt_path"
_RESUMED = "resume_from_checkpoint"
_TRAINERS = tuple(f"{p}.Trainer" for p in ("pytorch_lightning", "lightning", "lightning.pytorch"))
# What has been saved in the same run has the keys that the model has now.
_OF_THIS_RUN = ("best",)
# Methods of other libraries' objects, by the names that these usually have.
_OWNERS = {"load_state": re.compile("accelerator"), "load": re.compile("fabric")}
# Functions, with the place and the name of the model among the arguments; strict unless told.
_STRICT = {
    "ignite.handlers.Checkpoint.load_objects": (0, "to_load"),
    "safetensors.torch.load_model": (0, "model"),
    "timm.models.load_checkpoint": (0, "model"),
    "timm.models.helpers.load_checkpoint": (0, "model"),
    "torch.distributed.checkpoint.state_dict.set_model_state_dict": (0, "model"),
}
# The same, but strict only if told.
_LOOSE = {
    "accelerate.load_checkpoint_and_dispatch": (0, "model"),
    "accelerate.load_checkpoint_in_model": (0, "model"),
    "mmcv.runner.load_checkpoint": (0, "model"),
    "mmengine.runner.load_checkpoint": (0, "model"),
}


@dataclass(frozen=True, slots=True)
class LibraryLoad:
    """A call that loads, what is known of the model, and whether other keys are refused."""

    call: ast.Call
    model: ast.expr | None
    is_strict: bool


def library_loads(names: Names) -> Iterator[LibraryLoad]:
    """The loads of a file that other libraries do."""
    yield from _of_lightning(names)
    for method, owner in _OWNERS.items():
        for call in _calls_of(names, method):
            assert isinstance(call.func, ast.Attribute)
            if owner.search(ast.unparse(call.func.value).lower()):
                model = argument(call, "state", 1) if method == "load" else None
                if method != "load" or model is not None:
                    yield LibraryLoad(call, model, not _says(call, "False"))
    for node, qualified in uses_of(names, (*_STRICT, *_LOOSE)):
        if (load := names.tree.call_to(node)) is not None:
            place, name = _STRICT.get(qualified) or _LOOSE[qualified]
            is_strict = not _says(load, "False") if qualified in _STRICT else _says(load, "True")
            yield LibraryLoad(load, argument(load, name, place), is_strict)


def _of_lightning(names: Names) -> Iterator[LibraryLoad]:
    is_strict = not any(
        ast.unparse(getattr(names.tree.statement(node), "value", node)) == "False"
        for node in names.tree.occurrences("strict_loading")
    )
    for method in _TRAINER:
        for call in _calls_of(names, method):
            path = argument(call, _CHECKPOINT, None)
            if path is not None and ast.unparse(path) != "None" and not _is_of_this_run(path):
                yield LibraryLoad(call, argument(call, "model", 0), is_strict)
    for node, _ in uses_of(names, _TRAINERS):
        if (load := names.tree.call_to(node)) is not None:
            path = argument(load, _RESUMED, None)
            if path is not None and ast.unparse(path) != "None":
                yield LibraryLoad(load, None, is_strict)
    for call in _calls_of(names, "load_from_checkpoint"):
        yield LibraryLoad(call, None, is_strict and not _says(call, "False"))


def _calls_of(names: Names, method: str) -> Iterator[ast.Call]:
    for node in names.tree.occurrences(method):
        call = names.tree.call_to(node)
        if isinstance(node, ast.Attribute) and call is not None:
            yield call


def _is_of_this_run(path: ast.expr) -> bool:
    return isinstance(path, ast.Constant) and path.value in _OF_THIS_RUN


def _says(call: ast.Call, value: str) -> bool:
    """Whether ``strict`` is given a value, in the call or in options that it is handed."""
    return any(
        isinstance(node, ast.keyword) and node.arg == "strict" and ast.unparse(node.value) == value
        for node in ast.walk(call)
    )
