"""Ensembles with stacked buffers: what is left as it is runs, and what does not run is changed."""

from __future__ import annotations

import pytest
import torch

from bncodemod.core import rewrite
from bncodemod.model import Status
from bncodemod.settings import Settings

SCRIPT = """\
import torch
from torch import nn
from torch.func import (
    functional_call, grad, grad_and_value, hessian, jacfwd, jacrev, stack_module_state, vmap
)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x):
        return self.norm(x)


nets = [Net() for _ in range(3)]
params, buffers = stack_module_state(nets)
base = nets[0]


def run(params, buffers, x):
    return functional_call(base, (params, buffers), (x,))


def loss(params, buffers, x):
    return run(params, buffers, x).square().sum()


x = torch.randn(8, 4)
out = vmap(TRANSFORMED, in_dims=(0, 0, None))(params, buffers, x)
print(buffers["norm.running_mean"])
"""
PULLED = """\
def pulled(params, buffers, x):
    out, pull = torch.func.vjp(lambda p: loss(p, buffers, x), params)
    return pull(torch.ones(()))


x = torch"""
RUNNING = [
    "run",
    "grad(loss)",
    "grad_and_value(loss)",
    "jacrev(loss)",
    "jacfwd(loss, argnums=2)",
    "hessian(loss, argnums=2)",
]


def statuses(script: str, strategy: str) -> list[tuple[str, Status]]:
    result = rewrite(script.encode(), "script.py", Settings(strategy))
    assert not result.errors
    return [(f.code, f.status) for f in result.findings]


@pytest.mark.parametrize("transformed", RUNNING)
def test_derivatives_that_are_handed_the_buffers_run_and_are_left(transformed: str) -> None:
    script = SCRIPT.replace("TRANSFORMED", transformed)
    names: dict[str, dict[str, torch.Tensor]] = {}
    exec(script, names)
    mean = names["buffers"]["norm.running_mean"]
    assert mean.shape == (3, 4)
    assert mean.any()
    for strategy in ("auto", "eval-mode"):
        assert statuses(script, strategy) == [("BN101", Status.SAFE), ("BN113", Status.SAFE)]


def test_a_derivative_inside_of_the_function_fails_and_is_changed() -> None:
    script = SCRIPT.replace("TRANSFORMED", "pulled").replace("x = torch", PULLED)
    with pytest.raises(RuntimeError, match="in-place operation"):
        exec(script, {})
    found = statuses(script, "auto")
    assert found[0] == ("BN101", Status.REWRITTEN)
    assert ("BN301", Status.OPEN) in found
