"""Calls of a model: plain, in a loop over stacked inputs, and under vmap."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.utils._pytree import tree_flatten, tree_unflatten

from bncodemod.verify.reproducible import seed_all

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Outputs = tuple[Tensor, ...]
T = TypeVar("T")
Randomness = str  # vmap's: "error", "same" or "different"


def outputs(result: Any) -> Outputs:
    """All tensors of a model's answer, whatever holds them."""
    return tuple(_tensors(result, set()))


def _tensors(value: Any, seen: set[int]) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
        return
    if id(value) in seen or isinstance(value, (str, bytes, int, float, type(None), nn.Module)):
        return
    seen.add(id(value))
    if isinstance(value, Mapping):
        items = list(value.values())
    elif isinstance(value, (list, tuple, set, Iterator)):
        items = list(value)  # a generator runs now, under the transform
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    else:  # a distribution, a namespace
        names = (*getattr(value, "__dict__", ()), *_slots(type(value)))
        items = [getattr(value, name, None) for name in names]
    for item in items:
        yield from _tensors(item, seen)


def _slots(kind: type) -> Iterator[str]:
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        yield from (slots,) if isinstance(slots, str) else slots


def copied(module: nn.Module, shared: Mapping[int, Tensor] = MappingProxyType({})) -> nn.Module:
    """A deep copy; tensors that were computed, as weight_norm's weights, are copied as values.

    Those that are ``shared``, by their ids, are not copied.
    """
    computed = {
        id(value): value.detach().clone()
        for part in module.modules()
        for value in vars(part).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    return copy.deepcopy(module, {**computed, **shared})


def run(module: nn.Module, arguments: Arguments) -> Outputs:
    """One plain call."""
    args, kwargs = arguments
    return outputs(module(*args, **kwargs))


def looped(fresh: Callable[[], nn.Module], arguments: Arguments, seed: int) -> list[Outputs]:
    """The answers to the stacked inputs, one after the other, each by a ``fresh`` model."""
    return [_seeded(seed, run, fresh(), part) for part in parts(arguments)]


def vmapped(
    module: nn.Module, arguments: Arguments, seed: int, randomness: Randomness = "error"
) -> Outputs:
    """The answers to the stacked inputs, the module itself being shared."""
    tensors, call = _over_tensors(lambda a: run(module, a), arguments)
    answers: Outputs = _seeded(seed, vmap(call, randomness=randomness), *tensors)
    return answers


def parts(arguments: Arguments) -> list[Arguments]:
    """The slices of stacked inputs."""
    leaves, spec = tree_flatten(arguments)
    size = next(leaf.shape[0] for leaf in leaves if isinstance(leaf, Tensor))
    return [
        tree_unflatten([leaf[i] if isinstance(leaf, Tensor) else leaf for leaf in leaves], spec)
        for i in range(size)
    ]


def differentiated(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that gradients are taken of; no other wants one any more."""
    chosen = smallest(module)
    for name, parameter in module.named_parameters():
        if name not in chosen:
            parameter.requires_grad_(False)
    return chosen


def smallest(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that want gradients, or the smallest of a large model, the norms' among them.

    The way back is the same, and the weights of large layers only cost time and memory.
    """
    wanting = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    numbers, chosen = 0, dict[str, nn.Parameter]()
    for name, parameter in sorted(wanting, key=lambda pair: pair[1].numel()):
        numbers += parameter.numel()
        if chosen and numbers > _MOST_NUMBERS:
            break
        chosen[name] = parameter
    return chosen


_MOST_NUMBERS = 1 << 22  # of which gradients are taken


def looped_gradients(
    fresh: Callable[[], nn.Module], arguments: Arguments, seed: int
) -> Iterator[Outputs]:
    """The gradients for each slice, by plain autograd.

    Each is made when it is asked for, by a ``fresh`` model: they need as much memory as it does.
    """

    def gradients(part: Arguments) -> Outputs:
        model = fresh()
        parameters = list(differentiated(model).values())
        value = loss(run(model, part))
        if not value.requires_grad:  # no parameter has a part in the answer
            return tuple(map(torch.zeros_like, parameters))
        found = torch.autograd.grad(value, parameters, allow_unused=True)
        return tuple(
            torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)
        )

    return (_seeded(seed, gradients, part) for part in parts(arguments))


def vmapped_gradients(
    module: nn.Module, arguments: Arguments, seed: int, randomness: Randomness = "error"
) -> Outputs:
    """The same by ``vmap(grad(...))``."""
    parameters = {name: p.detach() for name, p in differentiated(module).items()}

    def call(part: Arguments, parameters: dict[str, Tensor]) -> Tensor:
        return loss(outputs(functional_call(module, parameters, *part)))

    tensors, over = _over_tensors(
        lambda part: tuple(grad(lambda p: call(part, p))(parameters).values()), arguments
    )
    answers: Outputs = _seeded(seed, vmap(over, randomness=randomness), *tensors)
    return answers


def looped_ensemble(models: list[nn.Module], arguments: Arguments, seed: int) -> list[Outputs]:
    """The answers of several models to one input."""
    return [_seeded(seed, run, model, arguments) for model in models]


def vmapped_ensemble(
    models: list[nn.Module], arguments: Arguments, seed: int, randomness: Randomness = "error"
) -> Outputs:
    """The same with the models' parameters and buffers stacked."""
    answers: Outputs = _seeded(seed, ensemble(models, arguments), randomness)
    return answers


def ensemble(models: list[nn.Module], arguments: Arguments) -> Callable[[Randomness], Outputs]:
    """Stacks the models; what is given back runs them."""
    parameters, buffers = stack_module_state(models)
    own = {id(p): p for p in models[0].parameters()}  # which are replaced: no need of a copy
    base = copied(models[0], own)

    def call(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Outputs:
        return outputs(functional_call(base, (parameters, buffers), *arguments))

    return lambda randomness: vmap(call, randomness=randomness)(parameters, buffers)


class NoFloats(Exception):
    """An answer has nothing to take gradients of, as the classes of a segmentation."""


def loss(answers: Outputs) -> Tensor:
    """A number that depends on every entry, and not on their sum alone.

    The sum, and the sum of squares, of what a batch norm puts out are constants.
    """
    total: Any = 0.0
    for answer in answers:
        if answer.is_floating_point():
            steps = torch.arange(answer.numel(), device=answer.device, dtype=answer.dtype)
            total = total + (answer * torch.sin(steps + 1).reshape(answer.shape)).sum()
    if not isinstance(total, Tensor):
        raise NoFloats("the answer has no floating point tensor")
    return total


def _over_tensors(
    function: Callable[[Arguments], Outputs], arguments: Arguments
) -> tuple[list[Tensor], Callable[..., Outputs]]:
    """The tensors among the arguments, and ``function`` as one of these alone."""
    leaves, spec = tree_flatten(arguments)
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

    def call(*tensors: Tensor) -> Outputs:
        filled = list(leaves)
        for place, tensor in zip(places, tensors, strict=True):
            filled[place] = tensor
        return function(tree_unflatten(filled, spec))

    return [leaves[place] for place in places], call


def _seeded(seed: int, function: Callable[..., Any], *args: Any) -> Any:
    seed_all(seed)
    return function(*args)
