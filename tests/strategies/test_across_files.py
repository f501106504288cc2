"""What one file does with the models of another decides there, in a sweep and in a hook alike."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

import pytest
from swept import findings

from bncodemod.model import Status
from bncodemod.settings import Configuration, Settings
from bncodemod.sweep.run import sweep

ANALYSIS = """\
from torch.func import jacrev, vmap


def sensitivity(model, x):
    return vmap(jacrev(model))(x).square().sum()
"""
TRAINING = """\
from analysis import sensitivity


def epoch(model, optimizer, batches):
    for x in batches:
        optimizer.zero_grad()
        total = model(x).sum() + sensitivity(model, x)
        total.backward()
        optimizer.step()
"""
EVALUATION = """\
import analysis


def report(model, x):
    print(analysis.sensitivity(model, x))
"""
NETS = """\
from torch import nn
from torch.func import vmap


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x):
        return self.norm(x)


def compare(model, x):
    return vmap(model)(x)
"""
USER = """\
from torch.func import vmap
from nets import Net


def run(x):
    return vmap(Net())(x)
"""


def test_a_training_in_another_file_is_seen(project: Path) -> None:
    (finding,) = findings(project, Settings("eval-mode"), analysis=ANALYSIS, train=TRAINING)[
        "analysis"
    ]
    assert finding.status is Status.OPEN
    assert "train.py:7" in finding.message


@pytest.mark.parametrize(
    ("imported", "use"),
    [
        ("from analysis import sensitivity", "PENALTIES['sensitivity']"),
        ("import analysis", "[analysis.sensitivity][0]"),
        ("from analysis import sensitivity as penalty", "penalty"),
    ],
)
def test_a_function_that_a_training_file_hands_around_is_reported(
    project: Path, imported: str, use: str
) -> None:
    registry = "PENALTIES = {'sensitivity': sensitivity}" if "PENALTIES" in use else ""
    training = (
        f"{imported}\n\n{registry}\n\ndef epoch(model, optimizer, x):\n"
        f"    total = {use}(model, x)\n    total.backward()\n"
    )
    found = findings(project, Settings("eval-mode"), analysis=ANALYSIS, train=training)["analysis"]
    assert [f.status for f in found] == [Status.OPEN]
    assert "train.py:" in found[0].message


@pytest.mark.parametrize(
    "registry",
    [
        "from analysis import sensitivity\n\nALL = [sensitivity]\n",
        "from analysis import (\n    sensitivity as penalty,\n)\n",
        "import analysis\n\nALL = {'s': analysis.sensitivity}\n",
    ],
)
def test_a_function_that_is_handed_around_elsewhere_is_said(project: Path, registry: str) -> None:
    (finding,) = findings(project, Settings("eval-mode"), analysis=ANALYSIS, registry=registry)[
        "analysis"
    ]
    assert finding.status is Status.REWRITTEN
    assert "registry.py" in finding.message
    assert "nothing in the project" not in finding.message


def test_an_evaluation_in_another_file_is_none(project: Path) -> None:
    (finding,) = findings(project, Settings("eval-mode"), analysis=ANALYSIS, report=EVALUATION)[
        "analysis"
    ]
    assert finding.status is Status.REWRITTEN
    assert "nothing in the project is seen to train by it" in finding.message


MIDDLE = """\
from analysis import sensitivity


def cost(m, x):
    return sensitivity(m, x)
"""


@pytest.mark.parametrize("count", [1, 2])
def test_a_training_is_seen_by_way_of_other_files(project: Path, count: int) -> None:
    files = {"analysis": ANALYSIS, "middle": MIDDLE}
    name, function = "middle", "cost"
    if count == 2:
        name, function = "further", "price"
        files[name] = MIDDLE.replace("sensitivity", "cost").replace("analysis", "middle")
        files[name] = files[name].replace("def cost", "def price")
    training = TRAINING.replace("analysis", name).replace("sensitivity", function)
    (finding,) = findings(project, Settings("eval-mode"), **files, train=training)["analysis"]
    assert finding.status is Status.OPEN
    assert "train.py:7" in finding.message
    looked_at = f"from {name} import {function}\n\nprint({function}(*input()))\n"
    (finding,) = findings(project, Settings("eval-mode"), **files, train=looked_at)["analysis"]
    assert finding.status is Status.REWRITTEN


def test_a_mode_that_another_file_sets_is_seen(project: Path) -> None:
    caller = "import analysis\n\n\ndef run(net, x):\n    net.train()\n"
    caller += "    return analysis.sensitivity(net, x)\n"
    found = findings(project, Settings("eval-mode"), analysis=ANALYSIS, caller=caller)["analysis"]
    assert [f.status for f in found] == [Status.OPEN]
    assert "caller.py:6" in found[0].message
    evaluated = caller.replace("train()", "eval()")
    found = findings(project, Settings("eval-mode"), analysis=ANALYSIS, caller=evaluated)[
        "analysis"
    ]
    assert [f.status for f in found] == [Status.REWRITTEN]


def test_a_function_of_another_file_that_sets_train_mode_is_seen(project: Path) -> None:
    prepare = "def prepare(net):\n    net.train({})\n    return net\n"
    user = "from torch.func import vmap\nfrom tools import prepare\n\n\ndef run(net, x):\n"
    user += "    prepare(net)\n    return vmap(net)(x)\n"
    for given, status in (("", Status.OPEN), ("False", Status.REWRITTEN)):
        files = {"tools": prepare.format(given), "user": user}
        assert [f.status for f in findings(project, Settings("eval-mode"), **files)["user"]] == [
            status
        ]


def test_no_more_is_said_than_was_looked_at(project: Path) -> None:
    (project / "analysis.py").write_text(ANALYSIS)
    alone = Configuration(os.getcwd(), Settings("eval-mode"), project=False)
    (result,) = sweep(["analysis.py"], alone, write=False, jobs=1)
    assert "no other file was looked at" in result.findings[0].message


def test_auto_leaves_no_norm_that_another_file_runs_under_vmap(project: Path) -> None:
    pytest.importorskip("torch")
    found = findings(project, Settings("auto"), nets=NETS, user=USER)["nets"]
    assert "BN101" in {f.code for f in found if f.status is Status.REWRITTEN}
    sys.path.insert(0, str(project))
    try:
        import torch

        runpy.run_path("user.py")["run"](torch.randn(2, 4, 3))
    finally:
        sys.path.remove(str(project))
        sys.modules.pop("nets", None)


def test_auto_evaluates_where_no_other_file_does_otherwise(project: Path) -> None:
    found = findings(project, Settings("auto"), nets=NETS)["nets"]
    assert {f.code: f.status for f in found} == {
        "BN101": Status.SAFE,
        "BN113": Status.REWRITTEN,
    }


def test_runtime_patch_says_where_else_a_class_is_built(project: Path) -> None:
    (finding,) = findings(project, Settings("runtime-patch"), nets=NETS, user=USER)["nets"]
    assert finding.status is Status.OPEN
    assert "user.py" in finding.message


INFLUENCE = """\
import torch
import torch.nn as nn
from torch.func import grad, vmap


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(3, 4), nn.BatchNorm1d(4))


def scores(model, x):
    def loss(row):
        return model(row[None]).sum()

    return vmap(grad(loss))(x)


def main(net, x):
    net.eval()
    return scores(net, x)
"""


@pytest.mark.parametrize("strategy", ["eval-mode", "auto"])
def test_a_model_that_comes_in_eval_mode_is_left(project: Path, strategy: str) -> None:
    """So long as no other file calls the function, nor this one in another way."""
    settings = Settings(strategy)
    found = findings(project, settings, influence=INFLUENCE)["influence"]
    assert {f.status for f in found} == {Status.SAFE}
    caller = "from influence import scores\n\n\ndef run(net, x):\n    return scores(net, x)\n"
    for other, text in (("caller", caller), ("influence", f"{INFLUENCE}\n\nALL = [scores]\n")):
        files = {"influence": INFLUENCE, other: text}
        found = findings(project, settings, **files)["influence"]
        assert Status.SAFE not in {f.status for f in found if f.code == "BN113"}
        (project / f"{other}.py").unlink()


def test_a_training_is_looked_for_in_lines_that_name_nothing_of_it(project: Path) -> None:
    caller = (
        "from analysis import sensitivity\n\nlog = open\nlog = log(__file__)\nlog.close()\n\n\n"
    )
    caller += "def run(net, x):\n    return sensitivity(net, x)\n"
    found = findings(project, Settings("eval-mode"), analysis=ANALYSIS, caller=caller)["analysis"]
    assert [f.status for f in found] == [Status.REWRITTEN]


TOOLS = """\
from torch.func import jacrev, vmap


def jacobians(f, x):
    return vmap(jacrev(f))(x)
"""
HANDED_ON = """\
import torch
from tools import jacobians
from torch import nn
from torch.func import vmap


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x):
        return self.norm(x)


net = Net()
x = torch.randn(5, 3, 4)
jacobians(CALLED, x)
probe = Net().eval()
vmap(probe)(x)
"""


@pytest.mark.parametrize("called", ["net", "lambda t: net(t)"])
def test_a_model_handed_to_what_transforms_it_elsewhere_is_seen(project: Path, called: str) -> None:
    user = HANDED_ON.replace("CALLED", called)
    left = findings(project, Settings("eval-mode"), tools=TOOLS, user=user)["user"]
    assert [(f.line, f.status) for f in left if f.code == "BN113"] == [
        (18, Status.OPEN),
        (20, Status.SAFE),
    ]
    evaluated = user.replace("net = Net()", "net = Net().eval()")
    left = findings(project, Settings("eval-mode"), tools=TOOLS, user=evaluated)["user"]
    assert {f.status for f in left} == {Status.SAFE}
    found = findings(project, Settings("auto"), tools=TOOLS, user=user)["user"]
    assert [(f.line, f.code, f.status) for f in found] == [
        (10, "BN101", Status.REWRITTEN),
        (20, "BN113", Status.OPEN),  # it loses the statistics that it uses
    ]


FREEZING = """\
from torch import nn


def settle(model):
    for module in model.modules():
        settle_one(module)


def settle_one(module):
    if isinstance(module, nn.BatchNorm2d):
        module.eval()
"""
FROZEN = """\
import timm
import freezing
from freezing import settle_one
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(8)


net = Net()
net.apply(settle_one)
model = timm.create_model("resnet18")
freezing.settle_one(model.bn1)
"""


def test_a_function_of_another_file_that_freezes_norms_is_seen(project: Path) -> None:
    found = findings(project, Settings("auto"), freezing=FREEZING, frozen=FROZEN)["frozen"]
    assert [f.code for f in found] == ["BN101", "BN110"]
    assert all("keep their statistics" in f.message for f in found)
    found = findings(project, Settings("runtime-patch"), freezing=FREEZING, frozen=FROZEN)["frozen"]
    assert [f.line for f in found if f.code == "BN304"] == [14, 16]
