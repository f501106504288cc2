"""Worker: runs small models of a package's copy in train mode.

``python zoo_run.py ROOT PACKAGE outputs|vmap|patched-vmap OUT MODELS``, where MODELS is a JSON list
of ``[name, arguments, input shape]``. ``outputs`` hashes seeded train-mode outputs and gradients;
``vmap`` runs the model over a batch of batches and looks at every GroupNorm's output;
``patched-vmap`` does the same after torch.func has taken the running stats away.
"""

from __future__ import annotations

import functools
import gc
import hashlib
import json
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, replace_all_batch_norm_modules_, vmap
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.utils import _pytree as pytree
from zoo_import import import_package, one_thread


def outputs(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> dict[str, Any]:
    """A hash of what the model returns in train mode and of its parameters' gradients."""
    torch.manual_seed(0)
    model = make().train()
    torch.manual_seed(1)
    x = torch.randn(shape)
    with one_thread():
        found = _tensors(model(x))
        sum(t.square().mean() for t in found if t.requires_grad).backward()  # type: ignore[union-attr]
    digest = hashlib.sha256()
    for tensor in (*found, *(p.grad for p in model.parameters() if p.grad is not None)):
        digest.update(repr(tuple(tensor.shape)).encode())
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    tracked = sum(isinstance(m, _NormBase) and m.running_mean is not None for m in model.modules())
    finite = all(bool(t.isfinite().all()) for t in found)
    return {"digest": digest.hexdigest(), "tracked": tracked, "finite": finite}


def run_vmap(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> dict[str, Any]:
    """Whether the model runs under vmap, equals the loop, and no GroupNorm's output is constant."""
    torch.manual_seed(0)
    model = make().train()
    _switch_off_stochastic_depth(model)
    x = torch.randn(2, *shape)
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    left = [n for n, m in model.named_modules() if _is_left(m)]

    def call(batch: torch.Tensor) -> list[torch.Tensor]:
        return _tensors(functional_call(model, state, (batch,)))

    with torch.no_grad():
        constant, seen = _constant_group_norms(model, x[0])
        try:
            vmap(call, randomness="different")(x)
            _switch_off_dropout(model)
            mapped = vmap(call, randomness="different")(x)
        except Exception as error:
            failed = f"{type(error).__name__}: {error}"[:300]
            return {"error": failed, "constant": constant, "group_norms": seen, "left": left}
        if _differs(call(x[0]), call(x[0])):
            # Some draw random numbers in their own way; a GroupNorm does the same in eval mode.
            model.eval()
            mapped = vmap(call, randomness="different")(x)
        loop = [torch.stack(pair) for pair in zip(*map(call, x), strict=True)]
    difference = max(
        float((a - b).abs().max() / b.abs().max().clamp_min(1e-12))
        for a, b in zip(mapped, loop, strict=True)
    )
    return {"difference": difference, "constant": constant, "group_norms": seen, "left": left}


def _constant_group_norms(model: nn.Module, x: torch.Tensor) -> tuple[list[str], int]:
    """GroupNorms that normalise every feature of an input that varies away, and how many ran."""
    constant: list[str] = []
    seen: set[str] = set()

    def watch(name: str) -> Callable[..., None]:
        def hook(norm: nn.GroupNorm, arguments: tuple[torch.Tensor, ...], _: object) -> None:
            (given,) = arguments
            per_group = norm.num_channels // norm.num_groups
            if given[0, 0].numel() * per_group < 2 and given.shape[0] < 2:
                return
            seen.add(name)
            # Without weight and bias: some models start with weight 0 on purpose.
            normal = functional.group_norm(given, norm.num_groups, eps=norm.eps)
            if _spread(given) > 0 and _spread(normal) == 0:
                constant.append(name)

        return hook

    hooks = [
        module.register_forward_hook(watch(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.GroupNorm)
    ]
    model(x)
    for handle in hooks:
        handle.remove()
    return constant, len(seen)


def _is_left(module: nn.Module) -> bool:
    """A batch norm, or an instance norm with running stats; other instance norms do no harm."""
    if isinstance(module, _BatchNorm):
        return True
    return isinstance(module, _NormBase) and module.running_mean is not None


def _differs(some: list[torch.Tensor], others: list[torch.Tensor]) -> bool:
    return not all(a.equal(b) for a, b in zip(some, others, strict=True))


def _spread(values: torch.Tensor) -> float:
    """The largest standard deviation of a channel over everything else."""
    return float(values.transpose(0, 1).flatten(1).std(dim=1, correction=0).max())


def _switch_off_stochastic_depth(model: nn.Module) -> None:
    """It fills an unbatched tensor in place, which vmap refuses, norm or no norm."""
    for module in model.modules():
        if type(module).__name__ == "StochasticDepth":
            module.p = 0.0
        elif type(module).__name__ == "DropPath":
            module.drop_prob = 0.0


def _switch_off_dropout(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0


def _tensors(value: Any) -> list[torch.Tensor]:
    if not isinstance(value, torch.Tensor | list | tuple | dict):
        value = vars(value)
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def _patched(make: Callable[[], nn.Module]) -> nn.Module:
    return replace_all_batch_norm_modules_(make())


def main(root: str, package: str, mode: str, out: str, models: str) -> None:
    zoo = import_package(pathlib.Path(root), package)
    run = {"outputs": outputs, "vmap": run_vmap, "patched-vmap": run_vmap}[mode]
    results: dict[str, Any] = {}
    gc.freeze()  # what was imported stays, and need not be looked at after every model
    for name, arguments, shape in json.loads(pathlib.Path(models).read_text()):
        make = functools.partial(zoo.builder(name), **arguments)
        if mode == "patched-vmap":
            make = functools.partial(_patched, make)
        try:
            results[name] = run(make, tuple(shape))
        except Exception as error:
            results[name] = {"failed": f"{type(error).__name__}: {error}"[:300]}
        gc.collect()
    pathlib.Path(out).write_text(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
