"""Weights that one file loads into models of another: where norms change, where they are kept."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from swept import findings, texts

from bncodemod.model import Status
from bncodemod.settings import Configuration, Settings
from bncodemod.sweep.run import sweep

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


@pytest.mark.parametrize("strategy", ["no-running-stats", "group-norm"])
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


def test_auto_keeps_what_is_seen_to_be_loaded_and_reports_other_loads(project: Path) -> None:
    unlinked = findings(project, Settings("auto"), nets=CLASSIFIER, trainer=TRAINER)
    assert [(f.code, f.line) for f in unlinked["trainer"]] == [("BN310", 10), ("BN310", 16)]
    files = {"nets": CLASSIFIER, "trainer": TRAINER, "restorer": RESTORER}
    found = findings(project, Settings("auto"), **files)
    assert "keep their statistics" in found["nets"][0].message
    assert not found["trainer"]
    assert not found["restorer"]
    again = findings(project, Settings("auto"), **texts(project, files))
    assert [f.status for f in again["nets"]] == [Status.SAFE]
    assert not again["trainer"]
    assert not again["restorer"]


@pytest.mark.parametrize(
    "of_patches",
    [
        {"strategy": "runtime-patch"},
        {"strategy": "no-running-stats", "third_party": "patch"},
        {"strategy": "group-norm", "third_party": "patch"},
    ],
)
def test_a_load_into_models_that_another_file_patches_is_reported(
    project: Path, of_patches: dict[str, str]
) -> None:
    for kind, count in (("replace", 2), ("keep-statistics", 0)):
        settings = Settings(**of_patches, patch=kind)  # type: ignore[arg-type]
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


def test_of_the_files_that_may_build_the_norms_the_nearest_is_named(project: Path) -> None:
    loads = (
        "import torch\n\n\ndef resume(model, path):\n    model.load_state_dict(torch.load(path))\n"
    )
    for folder in ("a", "b/nets", "b/tools"):
        (project / folder).mkdir(parents=True)
        (project / folder / "nets.py").write_text(CLASSIFIER)
    (project / "b/tools/nets.py").unlink()
    for folder in ("a", "b", "b/tools"):
        (project / folder / "resume.py").write_text(loads)
    swept = sweep(["."], Configuration(str(project), Settings()), write=False, jobs=1)
    said = {
        Path(result.path).as_posix(): result.findings[0].message
        for result in swept
        if Path(result.path).stem == "resume"
    }
    assert "a/nets.py" in said["a/resume.py"]
    assert "b/nets/nets.py" in said["b/resume.py"]
    assert "b/nets/nets.py" in said["b/tools/resume.py"]


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


def called(kind):
    return getattr(kind, "__name__", "")


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
        ("import blocks", "getattr(blocks, 'Wide')(3)", "Net()", 1),
        ("import blocks", "getattr(blocks, 'Act')()", "Net()", 0),
        ("from blocks import Act, Wide", "Act(Wide(3) is globals())", "Net()", 0),
        ("from blocks import Act, Wide", "Act((w := Wide(3)) is None)", "Net()", 1),
        ("from blocks import Act, called", "Act(called(Act) == 'Act')", "Net()", 0),
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


READER = """\
from torch import nn
from zoo import build

net = build()
for module in net.modules():
    if isinstance(module, nn.BatchNorm2d):
        module.eval()
print(net.conv1[1].running_mean)
"""


@pytest.mark.parametrize(
    ("kind", "codes"),
    [
        ("replace", ["BN304", "BN301"]),
        ("group-norm", ["BN304", "BN301"]),
        ("keep-statistics", []),
    ],
)
def test_what_needs_the_statistics_of_models_patched_elsewhere_is_reported(
    project: Path, kind: str, codes: list[str]
) -> None:
    found = findings(project, Settings("runtime-patch", patch=kind), zoo=ZOO, reader=READER)
    assert [f.code for f in found["reader"]] == codes


COPYING = """\
def copy_weights(target, source):
    target.load_state_dict(source.state_dict())
"""
COPIED = """\
import timm
import torch
import DEFINED

teacher = timm.create_model("resnet18")
teacher.load_state_dict(torch.load("teacher.pt"))
student = timm.create_model("resnet18")
copy_weights(student, teacher)
student.train()
"""


def test_auto_keeps_what_gives_its_state_to_another_model(project: Path) -> None:
    user = COPIED.replace("import DEFINED", "from copying import copy_weights")
    found = findings(project, Settings("auto"), copying=COPYING, user=user)["user"]
    assert all("keep their statistics" in f.message for f in found)
    (project / "copying.py").unlink()
    found = findings(project, Settings("auto"), user=COPIED.replace("import DEFINED\n", COPYING))
    assert all("keep their statistics" in f.message for f in found["user"])
