"""Lines that patch a built model: how they are reached, and what is checked of the patch."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from examined import HEAD, Examined, as_found

from bncodemod.core import rewrite
from bncodemod.settings import PATCHES, Settings
from bncodemod.verify.examine import examine
from bncodemod.verify.model import (
    Cause,
    Check,
    Event,
    Example,
    Job,
    Outcome,
    SiteKind,
    Verdict,
)
from bncodemod.verify.sites import find_sites

REACH = frozenset({Check.META_VMAP})
KEPT = frozenset({Check.META_VMAP, Check.KEPT_STATE, Check.KEPT_EVAL})
KEEP = """
def freeze_batch_norm_statistics(model):
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.track_running_stats = False
    return model
"""
# Stands for a builder of another library: a library's classes are no candidates.
BACKBONE = """
def backbone():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
"""
_numbers = itertools.count()
GOOD, BAD, UNSEEN = Verdict.VERIFIED, Verdict.FAILED, Verdict.NOT_REACHED


def patched(folder: Path, text: str, patch: str = KEEP, **settings: object) -> Examined:
    return as_found(folder, patch + BACKBONE + text, **({"checks": REACH} | settings))


def verdicts(said: Examined) -> list[Verdict]:
    return [verdict for _, verdict in said.verdicts(SiteKind.PATCH)]


REACHED = {
    "a call around the builder's": """
def build():
    return freeze_batch_norm_statistics(backbone())
""",
    "a statement behind it": """
def build():
    net = backbone()
    freeze_batch_norm_statistics(net)
    net.append(nn.Flatten())
    return net.train()
""",
    "a class": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = backbone()
        freeze_batch_norm_statistics(self.backbone)

    def forward(self, x):
        return self.backbone(x).mean()
""",
    "a tuple": """
def build(name):
    net = backbone()
    freeze_batch_norm_statistics(net)
    return net, name
""",
    "a module's variable": """
net = backbone()
freeze_batch_norm_statistics(net)
""",
    "a list of a module": """
nets = [freeze_batch_norm_statistics(backbone()) for _ in range(2)]
""",
    "a checkpoint that is not there": """
def load(path):
    net = backbone()
    freeze_batch_norm_statistics(net)
    net.load_state_dict(torch.load(path, weights_only=True)["model"])
    return net
""",
    "torch's function": """
from torch.func import replace_all_batch_norm_modules_ as patch

def build():
    return patch(backbone())
""",
}


@pytest.mark.parametrize("text", REACHED.values(), ids=REACHED)
def test_a_patch_is_reached(text: str, tmp_path: Path) -> None:
    assert verdicts(patched(tmp_path, text)) == [GOOD]


MAIN = """
def main(epochs):
    net = backbone()
    freeze_batch_norm_statistics(net)
    for _ in range(epochs):
        raise AssertionError("it is trained")
"""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (MAIN, "main is not known to give back the model"),
        (
            "if __name__ == '__main__':\n    freeze_batch_norm_statistics(backbone())\n",
            'it stands below if __name__ == "__main__"',
        ),
        (
            "def build():\n    return freeze_batch_norm_statistics(nn.Linear(2, 2))\n",
            "it was run, on a model without batch norms",
        ),
    ],
)
def test_why_a_patch_is_not_reached(text: str, reason: str, tmp_path: Path) -> None:
    said = patched(tmp_path, text)
    assert verdicts(said) == [UNSEEN]
    assert [each.startswith(reason) for each in said.reasons()] == [True]


def test_what_an_example_would_have_to_say_is_said(tmp_path: Path) -> None:
    head, patch = "def main(args, *more, seed=0):", "freeze_batch_norm_statistics"
    text = f"{head}\n    net = backbone()\n    {patch}(net)\n"
    reason = patched(tmp_path, text).reasons()[0]
    assert reason.endswith('up to this line (name = "main", arguments = "args=…")')


def test_a_function_that_an_example_names_is_called_up_to_its_patch(tmp_path: Path) -> None:
    said = patched(tmp_path, MAIN, examples=(Example("main", "3"),))
    assert verdicts(said) == [GOOD]


PLAIN = """
class Trainer:
    def __init__(self, lr):
        self.net = backbone()
        freeze_batch_norm_statistics(self.net)
        raise AssertionError("it is trained")
"""


def test_a_plain_class_that_patches_its_model(tmp_path: Path) -> None:
    said = patched(tmp_path, PLAIN)
    assert said.reasons() == [
        "Trainer is no nn.Module: it is built only if an example names it"
        ' (name = "Trainer", arguments = "lr=…")'
    ]
    assert verdicts(patched(tmp_path, PLAIN, examples=(Example("Trainer", "1"),))) == [GOOD]


def test_all_models_that_a_function_patches_are_checked(tmp_path: Path) -> None:
    text = """
def main():
    one, other = backbone(), backbone()
    freeze_batch_norm_statistics(one)
    freeze_batch_norm_statistics(other)
"""
    assert verdicts(patched(tmp_path, text, examples=(Example("main"),))) == [GOOD, GOOD]


# No place in it makes norms, as far as a source shows.
HIDDEN = """
def hidden():
    kind = next(each for name, each in vars(nn).items() if name.endswith("hNorm2d"))
    return nn.Sequential(nn.Conv2d(3, 8, 3), kind(8))
"""


@pytest.mark.parametrize(
    ("builder", "kind"), [("backbone", SiteKind.CALL), ("hidden", SiteKind.PATCH)]
)
def test_a_function_that_runs_its_model_before_the_patch(
    builder: str, kind: SiteKind, tmp_path: Path
) -> None:
    text = f"""
def main():
    net = {builder}()
    torch.func.vmap(net)(torch.zeros(2, 1, 3, 4, 4))
    return freeze_batch_norm_statistics(net)
"""
    said = patched(tmp_path, HIDDEN + text)
    result = said.result(Check.META_VMAP, "main")
    assert (result.outcome, result.cause) == (Outcome.FAILED, Cause.RUNNING_STATS)
    assert [site.kind for site in result.sites] == [kind]
    assert result.message.startswith("main() runs it under vmap: ")
    assert BAD in [verdict for _, verdict in said.verdicts(kind)]


def test_a_patch_that_does_nothing_fails(tmp_path: Path) -> None:
    nothing = "def freeze_batch_norm_statistics(model):\n    return model\n"
    said = patched(tmp_path, REACHED["a class"], nothing)
    assert verdicts(said) == [BAD]
    assert said.result(Check.META_VMAP).cause is Cause.RUNNING_STATS


@pytest.mark.parametrize("kind", PATCHES)
def test_every_written_patch_is_verified(kind: str, tmp_path: Path) -> None:
    """The helpers as they are written today, around a model of torchvision's."""
    pytest.importorskip("torchvision_import").prepare()
    before = (
        b"from torchvision import models\n\ndef build():\n    return models.shufflenet_v2_x0_5()\n"
    )
    done = rewrite(before, "a.py", Settings("runtime-patch", patch=kind))
    assert done.after is not None
    said = as_found(tmp_path, done.after.decode(), checks=KEPT)
    assert verdicts(said) == [GOOD]
    kept = [said.result(check, "build").outcome for check in (Check.KEPT_STATE, Check.KEPT_EVAL)]
    assert kept == [Outcome.PASSED if kind == "keep-statistics" else Outcome.SKIPPED] * 2


FAULTS = {
    "drops the buffers": (
        """
def freeze_batch_norm_statistics(model):
    return torch.func.replace_all_batch_norm_modules_(model)
""",
        {Check.KEPT_STATE, Check.KEPT_EVAL},
        "drops running_mean, running_var, num_batches_tracked",
    ),
    "resets the statistics": (
        KEEP.replace("module.track", "module.reset_running_stats(); module.track"),
        {Check.KEPT_STATE, Check.KEPT_EVAL},
        "changes running_mean, running_var, num_batches_tracked",
    ),
    "changes epsilon": (
        KEEP.replace("= False", "= False; module.eps = 0.1"),
        {Check.KEPT_EVAL},
        "in eval mode the answer is not that of the model before the patch",
    ),
    "adds a buffer": (
        KEEP.replace("= False", "= False; module.register_buffer('seen', torch.zeros(1))"),
        {Check.KEPT_STATE},
        "adds seen",
    ),
}


@pytest.mark.parametrize(("patch", "checks", "message"), FAULTS.values(), ids=FAULTS)
def test_a_patch_that_does_not_keep_statistics_fails(
    patch: str, checks: set[Check], message: str, tmp_path: Path
) -> None:
    """The helper of keep-statistics, with a fault."""
    said = patched(tmp_path, REACHED["a class"], patch, checks=KEPT)
    assert verdicts(said) == [BAD]
    failed = [result for result in said.failed() if result.cause is Cause.STATISTICS]
    assert {result.check for result in failed} == checks
    assert message in failed[0].message
    assert all(site.kind is SiteKind.PATCH for each in failed for site in each.sites[-1:])


def test_what_a_sound_patch_keeps(tmp_path: Path) -> None:
    said = patched(tmp_path, REACHED["a class"], checks=KEPT)
    assert [said.result(check).outcome for check in (Check.KEPT_STATE, Check.KEPT_EVAL)] == [
        Outcome.PASSED,
        Outcome.PASSED,
    ]


GROUP = """
def batch_norms_to_group_norms(model):
    for name, norm in list(model.named_children()):
        if type(norm) is nn.BatchNorm2d and norm.num_features > 2:
            setattr(model, name, nn.GroupNorm(2, norm.num_features))
    return torch.func.replace_all_batch_norm_modules_(model)
"""
WITH_NORMS = """
class WithActivation(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x).relu()

def build():
    return batch_norms_to_group_norms(nn.Sequential(nn.Conv2d(3, 8, 3), {}))
"""


@pytest.mark.parametrize(
    ("norms", "verdict"),
    [
        ("nn.BatchNorm2d(8)", GOOD),
        ("nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1), nn.BatchNorm2d(2)", GOOD),
        ("nn.BatchNorm2d(8), WithActivation(8)", BAD),
        ("WithActivation(8)", BAD),
    ],
)
def test_a_model_that_still_holds_batch_norms_has_no_group_norms(
    norms: str, verdict: Verdict, tmp_path: Path
) -> None:
    checks = frozenset({Check.META_VMAP, Check.FORWARD, Check.GROUPED})
    said = patched(tmp_path, WITH_NORMS.format(norms), GROUP, checks=checks)
    assert verdicts(said) == [verdict]
    failed = [result.cause for result in said.failed("build")]
    assert failed == [Cause.UNGROUPED] * (verdict is BAD)


def against(folder: Path, before: str, after: str) -> Examined:
    """Examine a source that was another one before."""
    name = f"of_both_{next(_numbers)}"
    for where, text in (("old", before), ("new", after)):
        (folder / where).mkdir(exist_ok=True)
        (folder / where / f"{name}.py").write_text(HEAD + text)
    path = folder / "new" / f"{name}.py"
    sites = find_sites(path.read_bytes(), str(path))
    job = Job(
        str(path),
        name,
        str(path.parent),
        sites,
        checks=KEPT,
        original_root=str(folder / "old"),
    )
    events: list[Event] = []
    examine(job, events.append)
    return Examined(job, events)


def test_a_model_of_the_import_is_compared_with_the_original_source(tmp_path: Path) -> None:
    before = f"{BACKBONE}\nnet = backbone()\n"
    for helper, outcome in ((KEEP, Outcome.PASSED), (FAULTS["drops the buffers"][0], "failed")):
        said = against(tmp_path, before, f"{before}{helper}freeze_batch_norm_statistics(net)\n")
        assert said.result(Check.KEPT_EVAL, "net").outcome is Outcome(outcome)


def test_a_model_of_which_other_norms_are_rewritten(tmp_path: Path) -> None:
    """Its eval mode is another one for these; what the patch does is seen without them."""
    net = """
class Net(nn.Sequential):
    def __init__(self):
        super().__init__(backbone(), nn.BatchNorm2d(8))
"""
    after = KEEP + net.replace("(8)", "(8, track_running_stats=False)")
    after += "        freeze_batch_norm_statistics(self[0])\n"
    said = against(tmp_path, BACKBONE + net, BACKBONE + after)
    assert said.result(Check.KEPT_EVAL).outcome is Outcome.PASSED
    assert any("another norm of it, 1, is rewritten" in note for note in said.of("Net").notes)


def test_the_original_source_is_what_a_patched_model_is_compared_with(tmp_path: Path) -> None:
    """Here it differs from what the patched source builds without the patch."""
    net = "class Net(nn.Sequential):\n    def __init__(self):\n"
    before = f"{net}        super().__init__(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))\n"
    after = (
        f"{net}        super().__init__(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, eps=0.1))\n"
        "        freeze_batch_norm_statistics(self)\n"
    )
    said = against(tmp_path, before, KEEP + after)
    assert said.result(Check.KEPT_STATE).outcome is Outcome.PASSED
    assert said.result(Check.KEPT_EVAL).cause is Cause.STATISTICS
