"""What one file does with the models of another decides there, in a sweep and in a hook alike."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from bncodemod.model import Finding, Status
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
ZOO = """\
from torchvision import models


def build():
    return models.shufflenet_v2_x0_5()
"""
LOADER = """\
import torch
from zoo import build


def load(path):
    net = build()
    net.load_state_dict(torch.load(path))
    return net
"""
SAVER = """\
import torch
from torchvision import models


def fit(net):
    for _ in range(2):
        net(torch.randn(2, 3, 32, 32))


def save(path):
    net = models.resnet18(num_classes=2)
    fit(net)
    torch.save(net.state_dict(), path)
"""
RESUMER = """\
import torch
from torchvision import models


def resume(path):
    net = models.resnet18(num_classes=2)
    net.load_state_dict(torch.load(path))
    return torch.func.vmap(net)(torch.randn(2, 2, 3, 32, 32))
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


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def findings(folder: Path, settings: Settings, **files: str) -> dict[str, list[Finding]]:
    """What is found in each file of a project, which is rewritten; a hook says the same."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    configuration = Configuration(os.getcwd(), settings)
    alone = {
        name: [
            f
            for result in sweep([f"{name}.py"], configuration, write=False, jobs=1)
            for f in result.findings
        ]
        for name in files
    }
    found: dict[str, list[Finding]] = {name: [] for name in files}
    for result in sweep(["."], configuration, write=True, jobs=1):
        assert not result.errors
        found[Path(result.path).stem] += result.findings
    assert found == alone
    return found


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


@pytest.mark.parametrize("kind", ["replace", "group-norm"])
def test_a_model_that_another_file_loads_is_not_patched_before(project: Path, kind: str) -> None:
    settings = Settings("runtime-patch", patch=kind)
    (finding,) = findings(project, settings, zoo=ZOO, load=LOADER)["zoo"]
    assert finding.status is Status.OPEN
    assert "load.py:7" in finding.message
    assert "--patch keep-statistics" in finding.remedy


RESUMED = """\
import torch
from torch import nn
from torchvision import models


def build():
    net = models.shufflenet_v2_x0_5()
    return net


class Lit(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = models.shufflenet_v2_x1_0()

    @classmethod
    def load_from_checkpoint(cls, path):
        lit = cls()
        lit.load_state_dict(torch.load(path))
        return lit


def resume(path):
    net = build()
    net.load_state_dict(torch.load(path))
    return net


def evaluate(path):
    lit = Lit.load_from_checkpoint(path)
    return lit.eval()


torch.save(build().state_dict(), "net.pt")
torch.save(Lit().state_dict(), "lit.pt")
"""


@pytest.mark.parametrize("kind", ["replace", "group-norm"])
def test_a_patch_stands_behind_the_load_where_all_callers_are_seen(
    project: Path, kind: str
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("torchvision_import").prepare()
    (project / "resumed.py").write_text(RESUMED)
    runpy.run_path("resumed.py")
    for name in ("net", "lit"):
        (project / f"{name}.pt").rename(f"{name}_before.pt")
    settings = Settings("runtime-patch", patch=kind)
    found = findings(project, settings, resumed=RESUMED)["resumed"]
    assert {f.code: f.status for f in found if f.code != "BN310"} == {"BN106": Status.REWRITTEN}
    names = runpy.run_path("resumed.py", run_name="imported")
    for model in (names["resume"]("net_before.pt"), names["evaluate"]("lit_before.pt")):
        assert not any(getattr(m, "track_running_stats", False) for m in model.modules())
    again = findings(project, settings, resumed=(project / "resumed.py").read_text())["resumed"]
    assert {f.status for f in again if f.code != "BN310"} == {Status.SAFE}


def test_kept_statistics_can_be_loaded_anywhere(project: Path) -> None:
    settings = Settings("runtime-patch", patch="keep-statistics")
    (finding,) = findings(project, settings, zoo=ZOO, load=LOADER)["zoo"]
    assert finding.status is Status.REWRITTEN


def test_auto_keeps_the_statistics_of_what_another_file_loads(project: Path) -> None:
    (finding,) = findings(project, Settings("auto"), zoo=ZOO, load=LOADER)["zoo"]
    assert "freeze_batch_norm_statistics" in finding.after


def test_auto_treats_what_is_saved_and_what_is_loaded_alike(project: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("torchvision_import").prepare()
    found = findings(project, Settings("auto"), saver=SAVER, resumer=RESUMER)
    assert [f.status for f in found["saver"]] == [Status.REWRITTEN]
    assert "resumer.py:7" in found["saver"][0].message
    runpy.run_path("saver.py")["save"]("net.pt")
    runpy.run_path("resumer.py")["resume"]("net.pt")


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


CLASSIFIER = """\
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)


def create():
    return Classifier()
"""
TRAINER = """\
import torch


class Trainer:
    def __init__(self, **parts):
        for name, part in parts.items():
            setattr(self, name, part)

    def resume(self, path):
        self.arch.load_state_dict(torch.load(path))


def restore(objects, path):
    states = torch.load(path)
    for name in objects:
        objects[name].load_state_dict(states[name])
"""
RESTORER = """\
import torch
import nets


def resume(path):
    net = nets.create()
    net.load_state_dict(torch.load(path))
    return net
"""
QUIET = """\
import torch
from torch import nn
from torchvision.models import vgg11


class Head(nn.Linear):
    pass


def heads(path):
    head, features = Head(4, 2), vgg11()
    head.load_state_dict(torch.load(path))
    features.load_state_dict(torch.load(path))
    return head, features
"""


@pytest.mark.parametrize("strategy", ["no-running-stats", "group-norm", "auto"])
def test_a_load_into_the_norms_of_another_file_is_reported(project: Path, strategy: str) -> None:
    files = {"nets": CLASSIFIER, "trainer": TRAINER, "restorer": RESTORER, "quiet": QUIET}
    found = findings(project, Settings(strategy), **files)
    said = {name: [(f.code, f.line, f.message) for f in found[name]] for name in files}
    assert [line for _, line, _ in said["trainer"]] == [10, 16]
    assert [line for _, line, _ in said["restorer"]] == [7]
    assert not said["quiet"]
    for code, _, message in (*said["trainer"], *said["restorer"]):
        assert code == "BN310"
        assert "nets.py" in message
    again = findings(project, Settings(strategy), **texts(project, files))
    assert {n: [(f.code, f.line, f.message) for f in again[n]] for n in said} == {
        **said,
        "nets": [(f.code, f.line, f.message) for f in again["nets"]],
    }


def texts(folder: Path, names: Iterable[str]) -> dict[str, str]:
    return {name: (folder / f"{name}.py").read_text() for name in names}


def test_a_load_into_models_that_another_file_patches_is_reported(project: Path) -> None:
    for kind, count in (("replace", 2), ("keep-statistics", 0)):
        settings = Settings("runtime-patch", patch=kind)
        found = findings(project, settings, zoo=ZOO, trainer=TRAINER)
        assert found["zoo"][0].status is Status.REWRITTEN
        assert [f.code for f in found["trainer"]] == ["BN310"] * count
        again = findings(project, settings, **texts(project, ("zoo", "trainer")))
        assert again["trainer"] == found["trainer"]


def test_a_model_that_is_looked_up_may_have_norms_of_any_file(project: Path) -> None:
    looked_up = RESTORER.replace("nets.create()", "getattr(nets, path)()").replace(
        "import nets", "import importlib\n\nnets = importlib.import_module(input())"
    )
    found = findings(project, Settings(), models=CLASSIFIER, restorer=looked_up)["restorer"]
    assert [f.code for f in found] == ["BN310"]


BLOCKS = (
    """\
from torch import nn


class Block(nn.Sequential):
    \"\"\"With nn.BatchNorm2d, unless told otherwise.\"\"\"

    def __init__(self, width, norm=nn.BatchNorm2d):
        super().__init__(nn.Conv2d(width, width, 3), norm(width))
        if type(self) == Block:
            print(width)


class Wide(Block):
    def __init__(self, width, norm=nn.BatchNorm2d):
        super().__init__(2 * width, norm)


class Act(nn.ReLU):
    pass


class Wrapper(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.inner = model


def part_of(model, name):
    return getattr(model, name)


def deep():
    return """
    + "+".join(["1"] * 900)
    + "\n"
)


@pytest.mark.parametrize(
    ("imported", "body", "built", "count"),
    [
        ("from blocks import Act", "Act()", "Net()", 0),
        ("from blocks import Act, Block", "Act()", "Net()", 0),
        ("from blocks import Wide", "Wide(3, norm=nn.Identity)", "Net()", 0),
        ("from blocks import Wide", "Wide(3, nn.Identity)", "Net()", 0),
        ("from blocks import Wide", "Wide(3)", "Net()", 1),
        ("from blocks import Wide", "[Wide]", "Net()", 1),
        ("import blocks", "blocks.Wide(3)", "Net()", 1),
        ("import blocks", "blocks.Act()", "Net()", 0),
        ("import blocks", "vars(blocks)['Wide'](3)", "Net()", 1),
        ("from blocks import *", "Wide(3)", "Net()", 1),
        ("from blocks import *", "Act()", "Net()", 0),
        ("from blocks import Absent", "Absent(3)", "Net()", 1),
        ("import blocks", "getattr(blocks, input())(3)", "Net()", 1),
        ("from blocks import deep", "deep()", "Net()", 1),
        ("import blocks", "nn.ReLU()", "blocks.Wrapper(model)", 1),
        ("import blocks", "nn.ReLU()", "blocks.Wrapper(Net())", 0),
        ("import blocks", "nn.ReLU()", "blocks.part_of(model, path)", 1),
        ("import blocks", "nn.ReLU()", "Net(len(path), options.pop('slope', 0.1))", 0),
        ("import blocks", "nn.ReLU()", "Net(options.pop('model', None))", 1),
    ],
)
@pytest.mark.parametrize("strategy", ["no-running-stats", "group-norm"])
def test_a_load_is_reported_where_its_class_leads_to_a_norm(
    project: Path, strategy: str, imported: str, body: str, built: str, count: int
) -> None:
    restorer = f"""\
import torch
from torch import nn
{imported}


class Net(nn.Module):
    def __init__(self, *options):
        super().__init__()
        self.block = {body}


def resume(path, model, **options):
    net = {built}
    net.load_state_dict(torch.load(path))
    return net
"""
    files = {"blocks": BLOCKS, "restorer": restorer}
    found = findings(project, Settings(strategy), **files)["restorer"]
    assert [f.code for f in found] == ["BN310"] * count
    again = findings(project, Settings(strategy), **texts(project, files))
    assert again["restorer"] == found


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
