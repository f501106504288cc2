"""Blocks that put models into eval mode: how they are run, and what is checked of the helper."""

from __future__ import annotations

from pathlib import Path

import pytest
from examined import Examined, as_found

from bncodemod.core import rewrite
from bncodemod.settings import Settings
from bncodemod.verify.model import Cause, Check, Example, SiteKind, Verdict

CHECKS = frozenset({Check.EVAL_MODE, Check.RESTORED})
HELPER = """
import contextlib
from torch.func import functional_call, hessian, jacrev, vmap

@contextlib.contextmanager
def evaluating(*models):
    modes = {module: module.training for model in models for module in model.modules()}
    for model in models:
        model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
"""
NET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))

    def forward(self, x):
        return self.body(x).mean((2, 3))
"""
GOOD, BAD, UNSEEN = Verdict.VERIFIED, Verdict.FAILED, Verdict.NOT_REACHED


def blocks(folder: Path, text: str, helper: str = HELPER, **settings: object) -> Examined:
    return as_found(folder, helper + text, **({"checks": CHECKS} | settings))


def verdicts(said: Examined) -> list[Verdict]:
    return [verdict for _, verdict in said.verdicts(SiteKind.BLOCK)]


JACOBIANS = """
def jacobians(model, x):
    with evaluating(model):
        return vmap(jacrev(lambda row: model(row[None])[0]))(x)
"""
REACHED = {
    "a function": NET + JACOBIANS,
    "a function of a file without models": JACOBIANS,
    "batches of batches": """
def views(net, images):
    with evaluating(net):
        out = vmap(net)(images)
    return out
""",
    "a list of models": """
def ensemble(models: "list[nn.Module]", x):
    base = models[0]
    names = [dict(model.named_parameters()) for model in models]
    stacked = {key: torch.stack([n[key].detach() for n in names]) for key in names[0]}
    with evaluating(base):
        return vmap(lambda p: functional_call(base, p, (x,)))(stacked)
""",
    "parameters and a number": """
def curvature(model, params, x, eps):
    with evaluating(model):
        return vmap(hessian(lambda r: eps * functional_call(model, params, (r[None],))[0, 0]))(x)
""",
    "a method of a module": NET
    + """
    def views(self, x):
        with evaluating(self.body):
            return vmap(self)(x)
""",
    "a method of another class": """
class Explainer:
    def __init__(self, model, batch_size=4):
        self.model = model

    def explain(self, x):
        with torch.no_grad(), evaluating(self.model):
            return vmap(self.model)(x)
""",
    "a second attempt": """
def views(model, x):
    with evaluating(model):
        try:
            return vmap(lambda row: model(row) * model(row).sum().item())(x)
        except RuntimeError:
            return vmap(model)(x)
""",
    "transforms of autograd": """
from torch.autograd.functional import jacobian

def views(model, x):
    with evaluating(model):
        return jacobian(model, x)
""",
    "a product with a Jacobian": """
from torch.func import jvp, vjp

def views(model, x):
    with evaluating(model):
        return jvp(model, (x,), (x,)), vjp(model, x)
""",
    "the import": NET
    + """
net = Net()
with evaluating(net):
    answers = vmap(net)(torch.randn(2, 3, 3, 4, 4))
""",
}


@pytest.mark.parametrize("text", REACHED.values(), ids=REACHED)
def test_a_block_is_run(text: str, tmp_path: Path) -> None:
    assert verdicts(blocks(tmp_path, text)) == [GOOD]


def test_the_helper_as_it_is_written_today(tmp_path: Path) -> None:
    before = f"""
import torch
from torch import nn
from torch.func import jacrev, vmap
{NET}
def jacobians(model, x):
    return vmap(jacrev(lambda row: model(row[None])[0]))(x)
"""
    done = rewrite(before.encode(), "a.py", Settings("eval-mode"))
    assert done.after is not None
    assert verdicts(as_found(tmp_path, done.after.decode(), checks=CHECKS)) == [GOOD]


FAULTS = {
    "restores nothing": (
        """
    for model in models:
        model.eval()
    yield
""",
        "behind the block a Sequential is not in the mode it was in",
    ),
    "unfreezes": (
        """
    for model in models:
        model.eval()
    try:
        yield
    finally:
        for model in models:
            model.train()
""",
        ", which was frozen, is not in the mode it was in",
    ),
    "restores the model and not its parts": (
        """
    modes = [model.training for model in models]
    for model in models:
        model.eval()
    try:
        yield
    finally:
        for model, mode in zip(models, modes):
            model.train(mode)
""",
        ", which was frozen, is not in the mode it was in",
    ),
    "forgets exceptions": (
        HELPER.partition(":\n")[2].replace("try:", "if True:").replace("finally:", "if True:"),
        "after an exception a Sequential is not in the mode it was in",
    ),
    "leaves parts in train mode": (
        HELPER.partition(":\n")[2].replace("model.eval()", "model.training = False"),
        "is not in eval mode in the block",
    ),
}


@pytest.mark.parametrize(("body", "message"), FAULTS.values(), ids=FAULTS)
def test_a_helper_that_does_not_give_modes_back_fails(
    body: str, message: str, tmp_path: Path
) -> None:
    said = blocks(tmp_path, JACOBIANS, HELPER.partition(":\n")[0] + ":\n" + body)
    assert verdicts(said) == [BAD]
    failed = [result for result in said.failed("jacobians") if result.check is Check.RESTORED]
    assert [(result.cause, message in result.message) for result in failed] == [(Cause.MODE, True)]


def test_another_model_than_the_one_that_runs(tmp_path: Path) -> None:
    text = """
def views(model, other, x):
    with evaluating(nn.Linear(2, 2)):
        return vmap(model)(x)
"""
    said = blocks(tmp_path, text, examples=(Example("views", f"{SMALL}, None, {IMAGES}"),))
    assert verdicts(said) == [BAD]
    assert [result.cause for result in said.failed("views")] == [Cause.TRAIN_MODE]


SMALL = "nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))"
IMAGES = "torch.randn(2, 3, 3, 4, 4)"


def test_a_model_that_is_trained_in_the_block(tmp_path: Path) -> None:
    text = """
def views(model, x):
    with evaluating(model):
        model[1].train()
        return model(x)
"""
    said = blocks(tmp_path, text, examples=(Example("views", f"{SMALL}, {IMAGES}[0]"),))
    assert verdicts(said) == [BAD]
    assert [result.cause for result in said.failed("views")] == [Cause.TRAIN_MODE]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "def plain(model, x):\n    with evaluating(model):\n        return model(x)\n",
            "plain did not show it: norms run in the block, but under no transform; an example may"
            ' (name = "plain", arguments = "model=…, x=…")',
        ),
        (
            "def early(model, x):\n    with evaluating(model):\n        if len(x) < 100:\n"
            "            return model(x)\n        return vmap(model)(x)\n",
            "early did not show it: norms run in the block, but under no transform",
        ),
        (
            "def swallowed(model, x):\n    with evaluating(model):\n        try:\n"
            "            return vmap(lambda row: model(row) * model(row).sum().item())(x)\n"
            "        except RuntimeError:\n            return None\n",
            "swallowed did not show it: a transform in it raised, and the code goes on: ",
        ),
        (
            "def lazy(model):\n    with evaluating(model):\n        return vmap(model)\n",
            "lazy did not show it: no norm runs in the block",
        ),
        (
            "def of(model, data):\n    for x in data.rows:\n        with evaluating(model):\n"
            "            vmap(model)(x)\n",
            "of did not show it: of(model=",
        ),
        (
            f"{NET}def main():\n    with evaluating(Net()):\n        raise AssertionError\n",
            "main takes no model: it is called only if an example names it",
        ),
        (
            f"{NET}if __name__ == '__main__':\n    with evaluating(Net()):\n        pass\n",
            'it stands below if __name__ == "__main__"',
        ),
    ],
)
def test_why_a_block_is_not_reached(text: str, reason: str, tmp_path: Path) -> None:
    said = blocks(tmp_path, text)
    assert verdicts(said) == [UNSEEN]
    assert [each.startswith(reason) for each in said.reasons()] == [True]


def test_checks_can_be_selected(tmp_path: Path) -> None:
    said = blocks(tmp_path, JACOBIANS, checks=frozenset({Check.RESTORED}))
    assert [result.check for result in said.of("jacobians").checks] == [Check.RESTORED]
    assert verdicts(said) == [GOOD]
    assert verdicts(blocks(tmp_path, JACOBIANS, checks=frozenset({Check.VMAP}))) == [UNSEEN]
