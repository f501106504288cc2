"""eval-mode where functions are handed models, functions or nothing: with real torch."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from swept import findings

from bncodemod.model import Status
from bncodemod.settings import Settings

torch = pytest.importorskip("torch")

STRATEGIES = [Settings("eval-mode"), Settings("auto")]

HEAD = """\
import torch
from torch import nn
from torch.func import grad, jacrev, vmap


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3))


"""
JACOBIANS = """\
def jacobians(model, xs):
    return vmap(jacrev(lambda v: model(v[None])[0]))(xs)


"""
SCORES = """\
def scores(log_prob, xs):
    return vmap(grad(log_prob))(xs)


"""
# Scripts that ran before their rewrite, as all models that they use are in eval mode.
RAN = {
    "a function beside a model": (
        JACOBIANS + "net, xs = Net().eval(), torch.randn(5, 3)\n"
        "found = [jacobians(f, xs) for f in (net, lambda v: net(v) / 2, net.forward, torch.sin)]\n"
    ),
    "None": (
        "def maybe(xs, model=None):\n"
        "    return vmap(lambda v: v if model is None else model(v[None])[0])(xs)\n"
        "\n"
        "\n"
        "found = maybe(torch.randn(5, 3))\n"
    ),
    "a function before the model is made": (
        SCORES + "xs = torch.randn(5, 3)\n"
        "first = scores(lambda v: v.square().sum(), xs)\n"
        "net = Net().eval()\n"
        "found = scores(lambda v: net(v[None]).sum(), xs)\n"
    ),
    "a name of another function": (
        SCORES + "def of_net(xs):\n"
        "    net = Net().eval()\n"
        "    return scores(lambda v: net(v[None]).sum(), xs)\n"
        "\n"
        "\n"
        "found = [of_net(torch.randn(5, 3)), scores(lambda v: v.sum(), torch.randn(5, 3))]\n"
    ),
}
# Scripts that failed, as their models are in train mode.
FAILED = {
    "a function": (
        JACOBIANS + "net, xs = Net(), torch.randn(5, 3)\n"
        "found = jacobians(lambda v: net(v) / 2, xs), jacobians(net.forward, xs)\n"
    ),
    "a function of a function's own model": (
        SCORES + "def of_net(xs):\n"
        "    net = Net()\n"
        "    return scores(lambda v: net(v[None]).sum(), xs), scores(lambda v: v.sum(), xs)\n"
        "\n"
        "\n"
        "found = of_net(torch.randn(5, 3))\n"
    ),
    "a list in an object": (
        "class Committee:\n"
        "    def __init__(self, members, core):\n"
        "        self.members, self.by_name = members, {'a': core}\n"
        "        self.core = core\n"
        "\n"
        "    def run(self, xs):\n"
        "        found = [jacrev(self.core.forward)(xs), jacrev(self.core)(xs)]\n"
        "        for member in self.members:\n"
        "            found.append(vmap(jacrev(lambda v: member(v[None])[0]))(xs))\n"
        "        return found\n"
        "\n"
        "\n"
        "found = Committee([Net(), Net()], Net()).run(torch.randn(5, 3))\n"
    ),
}


@pytest.mark.parametrize("script", RAN)
@pytest.mark.parametrize("settings", STRATEGIES, ids=lambda settings: settings.strategy)
def test_what_ran_gives_the_same(script: str, settings: Settings, project: Path) -> None:
    before = run(project, HEAD + RAN[script])
    findings(project, settings, main=HEAD + RAN[script])
    equal(run(project), before)


@pytest.mark.parametrize("script", FAILED)
def test_what_failed_runs(script: str, project: Path) -> None:
    with pytest.raises(RuntimeError, match=r"running_mean|mutate"):
        run(project, HEAD + FAILED[script])
    found = findings(project, Settings("eval-mode"), main=HEAD + FAILED[script])["main"]
    assert {f.status for f in found} == {Status.REWRITTEN, Status.SAFE}
    run(project)


TOOLS = """\
from torch.func import grad, jacrev, vmap


def jacobians(model, xs):
    return vmap(jacrev(lambda v: model(v[None])[0]))(xs)


def scores(log_prob, xs):
    return vmap(grad(lambda v: log_prob(v)))(xs)


def by_way(model, xs):
    return jacobians(model, xs)
"""
USER = """\
import torch
from torch import nn
from tools import by_way, jacobians, scores

net, xs = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)), torch.randn(5, 3)
if __name__ == "__main__":
    energy = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)){mode}
    scores(lambda v: energy(v[None]).sum(), xs)
    jacobians(energy.forward, xs)
    by_way(lambda v: energy(v) / 2, xs)
    jacobians(net, xs)
    scores(lambda v: v.square().sum(), xs)
"""


def test_functions_over_models_are_reported_where_another_file_gives_them(project: Path) -> None:
    found = findings(project, Settings("eval-mode"), tools=TOOLS, main=USER.format(mode=""))
    calls = [f for f in found["main"] if f.code == "BN113"]
    assert [(f.line, f.status) for f in calls] == [(n, Status.OPEN) for n in (8, 9, 10)]
    assert all("energy: " in f.message and "tools.py:" in f.message for f in calls)


def test_what_ran_across_files_still_runs(project: Path) -> None:
    files = {"tools": TOOLS, "main": USER.format(mode=".eval()")}
    found = findings(project, Settings("eval-mode"), **files)
    calls = [f for f in found["main"] if f.code == "BN113"]
    assert {f.status for f in calls} == {Status.SAFE}
    run(project)


def run(folder: Path, text: str = "") -> Any:
    """What a script of the folder finds; it is written there if it is given."""
    if text:
        (folder / "main.py").write_text(text)
    torch.manual_seed(0)
    sys.modules.pop("tools", None)
    sys.path.insert(0, str(folder))
    try:
        return runpy.run_path(str(folder / "main.py"), run_name="__main__").get("found")
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("tools", None)


def equal(found: Any, expected: Any) -> None:
    if isinstance(found, torch.Tensor):
        assert torch.equal(found, expected)
    else:
        for one, other in zip(found, expected, strict=True):
            equal(one, other)
