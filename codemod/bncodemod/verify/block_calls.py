"""What to call a function with that runs a model in a block: a model, and tensors that it takes.

The model is one that the module builds, else one that it imports from the user's other modules,
else a small network of the verifier's own: what is to be shown is the block, not the model.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bncodemod.verify.calling import copied, run
from bncodemod.verify.candidates import candidates
from bncodemod.verify.deduce import parameters
from bncodemod.verify.harvest import Harvest
from bncodemod.verify.inputs import Inputs
from bncodemod.verify.looking import attribute, file_of, function_below, is_instance, text
from bncodemod.verify.meta import device_of
from bncodemod.verify.model import Job, Site
from bncodemod.verify.prepare import Prepared, prepare
from bncodemod.verify.promises import builds_module
from bncodemod.verify.reproducible import seed_all
from bncodemod.verify.specs import Spec

BATCH, STACK = 3, 2  # samples in a batch, batches under vmap
_MOST_MODELS = 8  # that are built to find one with batch norms
_MODEL = re.compile(
    r"(.*_)?(model|net|network|module|classifier|backbone|encoder|learner|f|fn|func)"
)
_MODELS = re.compile(r"(.*_)?(models|nets|networks|modules|members|ensemble|learners)")
_PARAMETERS = re.compile(r"params?|parameters|weights|theta")
_BUFFERS = re.compile(r"buffers|stats")
_LABELS = re.compile(r"labels?|targets?|y|classes|idx|indices")
_COUNT = re.compile(r"(n|num|nb)_.*|k|n|steps|samples|chunk_size|chunks?")
_FRACTION = re.compile(r"eps(ilon)?|lr|sigma|std|scale|alpha|noise|temperature|delta")
_PLAIN = {bool: False, int: 2, float: 0.1, str: ""}
_SIZES = (4, 8, 16, 32)  # of images
# Of the tensors: (N, …), (V, N, …), (…).
_SHAPES = {"batch": "a batch", "batches": "a batch of batches", "sample": "a sample"}


def _rows() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))


def _images() -> nn.Module:
    body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


@dataclass(frozen=True)
class Call:
    """A call of a user's function, as text and to be made."""

    text: str
    make: Callable[[], Any]


@dataclass(frozen=True)
class Function:
    """What holds blocks: a function, or the method of a class (``holder``)."""

    name: str
    target: Callable[..., Any]
    holder: type | None = None

    @property
    def line(self) -> int:
        function = function_below(self.target)
        return function.__code__.co_firstlineno if function is not None else 0

    @property
    def is_of_module(self) -> bool:
        """Whether it is the method of a module's class, called on the model itself."""
        return self.holder is not None and issubclass(self.holder, nn.Module)

    def parameters(self) -> list[inspect.Parameter]:
        """Those that a call has to give, without ``self``."""
        return _required(self.target)[self.holder is not None :]

    @property
    def takes_anything(self) -> bool:
        """Whether it is given something to work with: what makes all by itself may do anything."""
        return self.is_of_module or bool(self.parameters() or self.parameters_of_holder())

    def parameters_of_holder(self) -> list[inspect.Parameter]:
        """Those that the constructor of its class has to be given first, unless it is a module."""
        return [] if self.holder is None or self.is_of_module else _required(self.holder)


def function_of(site: Site, module: ModuleType) -> Function | None:
    """The function or method that holds a block; the outermost one of nested functions."""
    holder: Any = module
    name = ""
    for part in site.owner.split(".") if site.owner else ():
        name = f"{name}.{part}".lstrip(".")
        held = inspect.getattr_static(holder, part, None)
        if inspect.isclass(held):
            holder = held
            continue
        target = attribute(holder, part)
        if not callable(target):
            return None
        bound = not inspect.isclass(holder) or isinstance(held, (staticmethod, classmethod))
        return Function(name, target, None if bound else holder)
    return None


class Models:
    """Models to call functions with, those with batch norms that the project has coming first.

    Each is prepared when it is first asked for, and once.
    """

    def __init__(self, job: Job, module: ModuleType) -> None:
        self._found: list[tuple[str, Prepared]] = []
        self._rest = _models(job, module)

    def __iter__(self) -> Iterator[tuple[str, Prepared]]:
        for index in itertools.count():
            if index == len(self._found):
                self._found += itertools.islice(self._rest, 1)
            if index == len(self._found):
                return
            yield self._found[index]


def _models(job: Job, module: ModuleType) -> Iterator[tuple[str, Prepared]]:
    harvest = Harvest((job.root,))
    targets = [(each.name, each.target) for each in candidates(module, job)]
    targets += _imported(module, (job.root, *job.folders))
    for name, target in itertools.islice(sorted(targets, key=_needs), _MOST_MODELS):
        with harvest:
            prepared = prepare(target, name, module, job, harvest, _has_batch_norm)
        if isinstance(prepared, Prepared):
            yield name, _on_small_inputs(prepared)
    for name, target in (("rows", _rows), ("images", _images)):
        with harvest:
            prepared = prepare(target, name, module, job, harvest)
        if isinstance(prepared, Prepared):
            yield f"a small network of the verifier's own for {name}", prepared


def _on_small_inputs(prepared: Prepared) -> Prepared:
    """With images as small as the model takes: a Hessian grows with their size to the fourth."""
    module = copied(prepared.constructed.module)
    module.eval()  # as in the blocks
    device = device_of(module)
    for size in _SIZES:
        feed = prepared.inputs.feed.map(partial(_shrunk, size=size))
        inputs = Inputs(str(feed), feed)
        try:
            with torch.no_grad(), device:
                for batch in (1, BATCH):
                    run(module, inputs.make(device, batch=batch))
        except Exception:
            continue
        return replace(prepared, inputs=inputs)
    return prepared


def _shrunk(value: Any, size: int) -> Any:
    if not isinstance(value, Spec) or len(value.shape) < 3:
        return value
    sizes = (*value.shape[:2], *(min(size, each) for each in value.shape[2:]))
    return replace(value, shape=sizes)


def _required(target: Callable[..., Any]) -> list[inspect.Parameter]:
    return [each for each in parameters(target) if each.default is each.empty]


def _needs(item: tuple[str, Callable[..., Any]]) -> int:
    return len(_required(item[1]))


def _has_batch_norm(module: nn.Module) -> bool:
    return any(isinstance(part, _BatchNorm) for part in module.modules())


def _imported(module: ModuleType, roots: Sequence[str]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Classes and functions of the user's other modules that build models."""
    folders = tuple(os.path.join(os.path.realpath(root), "") for root in roots)
    for name, value in list(vars(module).items()):
        home = sys.modules.get(text(value, "__module__"))
        file = file_of(home)
        if home is module or not file.startswith(folders) or "site-packages" in file:
            continue
        if is_instance(value, type, FunctionType) and builds_module(value):
            yield name, value


def calls(
    function: Function, sites: Sequence[Site], name: str, prepared: Prepared, job: Job
) -> Iterator[Call]:
    """The ways to call a function with one model."""
    if function.holder is not None and function.is_of_module:
        if not isinstance(prepared.constructed.module, function.holder):
            return
    said = _put_into_eval_mode(sites)
    first, wanted = function.parameters_of_holder(), function.parameters()
    kinds = [_kinds(each, said) for each in (*first, *wanted)]
    for shape in _SHAPES:
        for chosen in itertools.product(*kinds):
            yield _call(function, first, wanted, chosen, shape, name, prepared, job)


def _put_into_eval_mode(sites: Sequence[Site]) -> dict[str, str]:
    """The names that blocks put into eval mode, or of what holds it, with what they are."""
    found: dict[str, str] = {}
    lines = {site.line for site in sites}
    with open(sites[0].path, "rb") as file:
        tree = ast.parse(file.read())
    for block in ast.walk(tree):
        if isinstance(block, ast.With) and block.lineno in lines:
            for item in block.items:
                for argument in getattr(item.context_expr, "args", ()):
                    is_list = isinstance(argument, (ast.Starred, ast.Subscript))
                    root = argument.value if is_list else argument
                    if isinstance(root, ast.Name):
                        found[root.id] = "models" if is_list else "model"
    return found


def _kinds(parameter: inspect.Parameter, said: dict[str, str]) -> tuple[Any, ...]:
    """What a parameter may be, the likeliest first."""
    name, annotation = parameter.name.lower(), str(parameter.annotation)
    many = re.search(r"list|sequence|iterable|tuple|modulelist", annotation, re.IGNORECASE)
    if parameter.annotation in _PLAIN:
        return (parameter.annotation,)
    if name in said:
        return (said[name],) if said[name] == "models" or not many else ("models",)
    if _MODELS.fullmatch(name):
        return ("models", "model")
    if inspect.isclass(parameter.annotation) and issubclass(parameter.annotation, nn.Module):
        return ("model",)
    if _MODEL.fullmatch(name):
        return ("models",) if many else ("model", "input")
    for pattern, kind in (
        (_PARAMETERS, "parameters"),
        (_BUFFERS, "buffers"),
        (_LABELS, "labels"),
        (_COUNT, int),
        (_FRACTION, float),
    ):
        if pattern.fullmatch(name):
            return (kind, "input")
    return ("device",) if name == "device" else ("input",)


def _call(
    function: Function,
    first: list[inspect.Parameter],
    wanted: list[inspect.Parameter],
    kinds: tuple[Any, ...],
    shape: str,
    name: str,
    prepared: Prepared,
    job: Job,
) -> Call:
    constructed, device = prepared.constructed, torch.device(job.device)
    shown = {"model": name, "models": f"[{name}] * 2", "input": _SHAPES[shape]}
    parts = [
        f"{each.name}={shown.get(kind, kind if isinstance(kind, str) else _PLAIN.get(kind))}"
        for each, kind in zip((*first, *wanted), kinds, strict=True)
    ]
    text = f"{function.name}({', '.join(parts)})"

    def make() -> Any:
        seed_all(job.seed)
        model = constructed.rebuild(device)
        args, kwargs = prepared.inputs.make(
            device,
            batch=1 if shape == "sample" else BATCH,
            stack=STACK if shape == "batches" else None,
            seed=job.seed,
        )
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        if shape == "sample":
            tensors = [tensor[0] if tensor.dim() else tensor for tensor in tensors]
        inputs = itertools.cycle(tensors or [torch.zeros(BATCH, device=device)])

        def value(kind: Any) -> Any:
            if kind == "model":
                return model
            if kind == "models":
                return [model, constructed.rebuild(device)]
            if kind == "parameters":
                return {key: each.detach() for key, each in model.named_parameters()}
            if kind == "buffers":
                return dict(model.named_buffers())
            if kind == "labels":
                return torch.zeros(BATCH, dtype=torch.long, device=device)
            if kind == "device":
                return device
            return next(inputs) if kind == "input" else _PLAIN[kind]

        values = [value(kind) for kind in kinds]
        arguments = values[len(first) :]
        if function.holder is None:
            return _given(function.target, wanted, arguments)
        given = values[: len(first)]
        owner = model if function.is_of_module else _given(function.holder, first, given)
        return _given(getattr(owner, function.name.rpartition(".")[2]), wanted, arguments)

    return Call(text, make)


def _given(target: Callable[..., Any], wanted: list[inspect.Parameter], values: list[Any]) -> Any:
    positional = [v for p, v in zip(wanted, values, strict=True) if p.kind is not p.KEYWORD_ONLY]
    keywords = {p.name: v for p, v in zip(wanted, values, strict=True) if p.kind is p.KEYWORD_ONLY}
    return target(*positional, **keywords)
