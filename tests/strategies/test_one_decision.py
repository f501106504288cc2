"""auto: files that may share models keep their norms' statistics together, or lose them so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from swept import findings

from bncodemod.model import Status
from bncodemod.settings import Configuration, Settings
from bncodemod.sweep.run import sweep

AUTO = Settings("auto")
MODELS = """\
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))

    def forward(self, x):
        return self.layers(x)
"""
ANALYSIS = """\
from torch.func import grad, vmap


def saliency(model, rows):
    def score(row):
        return model(row[None]).max()

    return vmap(grad(score))(rows)
"""
JACOBIANS = """\
from torch.func import jacrev, vmap


def jacobians(f, rows):
    return vmap(jacrev(lambda row: f(row[None])[0]))(rows)
"""
MAIN = """\
import torch
from models import Net
from IMPORTED

torch.manual_seed(0)
net = Net()
for _ in range(20):
    net(torch.randn(16, 4) * 3 + 1)
net.eval()
print(CALL.sum().item())
"""
BY_SALIENCY = MAIN.replace("IMPORTED", "analysis import saliency").replace(
    "CALL", "saliency(net, torch.randn(5, 4))"
)
BY_LAMBDA = MAIN.replace("IMPORTED", "tools import jacobians").replace(
    "CALL", "jacobians(lambda rows: net(rows), torch.randn(5, 4))"
)
TRAINING = """\
import torch
from torch.func import functional_call, grad, vmap
from models import Net


def train(net, optimizer, rows):
    parameters = dict(net.named_parameters())

    def loss(parameters, row):
        return functional_call(net, parameters, (row,)).sum()

    gradients = vmap(grad(loss), (None, 0))(parameters, rows)
    for name, parameter in net.named_parameters():
        parameter.grad = gradients[name].mean(0)
    optimizer.step()


if __name__ == "__main__":
    net = Net()
    train(net, torch.optim.SGD(net.parameters(), 0.1), torch.randn(3, 6, 4))
"""


def found(folder: Path, **files: str) -> list[tuple[str, int, str, Status]]:
    """What is found in a project; a hook says the same."""
    return [
        (name, f.line, f.code, f.status)
        for name, of_file in findings(folder, AUTO, **files).items()
        for f in of_file
    ]


def output(script: str) -> str:
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize(
    "files",
    [
        {"models": MODELS, "analysis": ANALYSIS, "main": BY_SALIENCY},
        {"models": MODELS, "analysis": ANALYSIS, "main": BY_SALIENCY.replace("net", "policy")},
        {"models": MODELS, "tools": JACOBIANS, "main": BY_LAMBDA},
    ],
    ids=["model", "name", "lambda"],
)
def test_numbers_stay_where_all_is_evaluated(project: Path, files: dict[str, str]) -> None:
    pytest.importorskip("torch")
    for name, text in files.items():
        (project / f"{name}.py").write_text(text)
    before = output("main.py")
    statuses = {code: status for _, _, code, status in found(project, **files)}
    assert statuses["BN101"] is Status.SAFE
    assert output("main.py") == before
    assert found(project, **{name: (project / f"{name}.py").read_text() for name in files})
    assert output("main.py") == before


@pytest.mark.parametrize(
    ("analysis", "main", "flat"),
    [
        # One row a time is no batch without running statistics.
        (ANALYSIS, BY_SALIENCY, [("analysis", 8, "BN113", Status.OPEN)]),
        (
            ANALYSIS.replace("row[None]", "row"),
            BY_SALIENCY.replace("net", "policy").replace("5, 4", "2, 5, 4"),
            [],
        ),
        (JACOBIANS, BY_LAMBDA.replace("tools", "analysis"), []),
    ],
    ids=["model", "name", "lambda"],
)
def test_what_a_training_costs_is_reported(
    project: Path, analysis: str, main: str, flat: list[tuple[str, int, str, Status]]
) -> None:
    """The norms lose their statistics; what is in eval mode today then gives other numbers."""
    pytest.importorskip("torch")
    files = {"models": MODELS, "analysis": analysis, "main": main, "train": TRAINING}
    reported = [*flat, ("main", 10, "BN113", Status.OPEN)]
    assert found(project, **files) == [("models", 7, "BN101", Status.REWRITTEN), *reported]
    output("train.py")
    again = {name: (project / f"{name}.py").read_text() for name in files}
    assert found(project, **again) == [("models", 7, "BN101", Status.SAFE), *reported]


def test_a_function_that_nothing_calls_may_get_any_model(project: Path) -> None:
    """It is for a notebook, which may import the models as well."""
    statuses = found(project, models=MODELS, analysis=ANALYSIS)
    assert statuses == [
        ("models", 7, "BN101", Status.SAFE),
        ("analysis", 8, "BN113", Status.REWRITTEN),
    ]
    (project / "analysis.py").write_text(ANALYSIS)
    statuses = found(project, models=MODELS, analysis=ANALYSIS, train=TRAINING)
    assert ("models", 7, "BN101", Status.REWRITTEN) in statuses
    assert ("analysis", 8, "BN113", Status.OPEN) in statuses


def test_scripts_that_share_nothing_decide_for_themselves(project: Path) -> None:
    alone = MODELS + "\n\n" + ANALYSIS.replace("def saliency", "def _saliency")
    alone += "\n\nprint(_saliency(Net(), __import__('torch').zeros(5, 4)))\n"
    statuses = found(project, models=MODELS, train=TRAINING, script=alone)
    assert [(name, code, status) for name, _, code, status in statuses] == [
        ("models", "BN101", Status.REWRITTEN),
        ("script", "BN101", Status.SAFE),
        ("script", "BN113", Status.REWRITTEN),
    ]


@pytest.mark.parametrize(
    "change",
    [
        ("model(row[None])", "row.unknown(model)(row)"),
        ("model(row[None]).max()", "torch.nn.functional.mse_loss(model(row[None]), row)"),
        ("def score", "model.train()\n\n    def score"),
    ],
    ids=["unknown", "loss", "train mode"],
)
def test_what_cannot_be_put_into_eval_mode_decides(project: Path, change: tuple[str, str]) -> None:
    statuses = found(project, models=MODELS, analysis=ANALYSIS.replace(*change), main=BY_SALIENCY)
    assert ("models", 7, "BN101", Status.REWRITTEN) in statuses
    assert Status.REWRITTEN not in {s for _, _, code, s in statuses if code == "BN113"}


@pytest.mark.parametrize(
    "change",
    [
        ("return vmap(grad(score))(rows)", "return vmap(grad(score))(rows)  # bncodemod: ignore"),
        ("from torch.func", "# bncodemod: skip-file\nfrom torch.func"),
    ],
    ids=["ignored", "skipped"],
)
def test_what_a_comment_leaves_to_the_user_decides_nothing(
    project: Path, change: tuple[str, str]
) -> None:
    statuses = found(project, models=MODELS, analysis=ANALYSIS.replace(*change), main=BY_SALIENCY)
    assert ("models", 7, "BN101", Status.SAFE) in statuses
    assert not {Status.REWRITTEN, Status.OPEN}.intersection(s for *_, s in statuses)


def test_one_file_can_do_without_the_other(project: Path) -> None:
    """A teacher in eval mode stays right beside a function that is no model."""
    pytest.importorskip("torch")
    script = (
        MODELS
        + "\n\n"
        + JACOBIANS
        + (
            "\n\nimport torch\ntorch.manual_seed(0)\nrows = torch.randn(5, 4)\n"
            "print(jacobians(lambda row: 2 * row, rows).sum())\n"
            "student, teacher = Net(), None\nteacher = Net().eval()\n"
            "print(jacobians(lambda row: teacher(row), rows).sum())\n"
        )
    )
    (project / "script.py").write_text(script)
    before = output("script.py")
    found(project, script=script)
    assert output("script.py") == before


def test_a_batch_of_one_row_is_reported_where_statistics_are_lost(project: Path) -> None:
    pytest.importorskip("torch")
    training = TRAINING.replace("(row,)", "(row[None],)").replace("3, 6, 4", "6, 4")
    assert found(project, models=MODELS, train=training) == [
        ("models", 7, "BN101", Status.REWRITTEN),
        ("train", 12, "BN113", Status.OPEN),
    ]
    failed = subprocess.run([sys.executable, "train.py"], capture_output=True, text=True)
    assert "Expected more than 1 value per channel" in failed.stderr
    images = MODELS.replace("BatchNorm1d", "BatchNorm2d")
    assert [code for _, _, code, _ in found(project, models=images, train=training)] == ["BN101"]


def test_a_model_of_a_file_that_was_not_looked_at_is_reported(project: Path) -> None:
    (project / "analysis.py").write_text(ANALYSIS)
    configuration = Configuration(os.getcwd(), AUTO, project=False)
    (result,) = sweep(["analysis.py"], configuration, write=False, jobs=1)
    assert [(f.code, f.status) for f in result.findings] == [("BN113", Status.OPEN)]


def test_packages_decide_by_what_imports_them(project: Path) -> None:
    (project / "pkg").mkdir()
    main = BY_SALIENCY.replace("models import", "pkg.models import")
    main = main.replace("from analysis import saliency", "import pkg.analysis")
    files = {
        "pkg/__init__.py": "",
        "pkg/models.py": MODELS,
        "pkg/analysis.py": ANALYSIS,
        "main.py": main.replace("saliency(", "pkg.analysis.saliency("),
        "train.py": TRAINING.replace("models", "pkg.models"),
    }
    for training in (False, True):
        for name, text in files.items():
            if training or name != "train.py":
                (project / name).write_text(text)
        configuration = Configuration(os.getcwd(), AUTO)
        statuses = {
            (result.path, f.code): f.status
            for result in sweep(["."], configuration, write=False, jobs=1)
            for f in result.findings
        }
        expected = (
            {
                ("main.py", "BN113"): Status.OPEN,
                ("pkg/analysis.py", "BN113"): Status.OPEN,
                ("pkg/models.py", "BN101"): Status.REWRITTEN,
            }
            if training
            else {
                ("pkg/analysis.py", "BN113"): Status.REWRITTEN,
                ("pkg/models.py", "BN101"): Status.SAFE,
            }
        )
        assert statuses == expected
