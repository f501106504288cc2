"""A module from its import to the checks: what is built and checked, and what that verifies."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from examined import examined, image

from bncodemod.verify.model import Built, Cause, Check, Outcome, SiteKind, Verdict
from bncodemod.verify.verdicts import judge

NET = """
class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.bn = ⟪nn.BatchNorm2d(width{flag})⟫
        self.gn = ⟪nn.GroupNorm(2, width)⟫

    def forward(self, x):
        return self.gn(self.bn(self.conv(x)).relu())
"""
KEPT, DROPPED = NET.format(flag=""), NET.format(flag=", track_running_stats=False")


def test_what_passes(tmp_path: Path) -> None:
    said = examined(tmp_path, DROPPED)
    net = said.of("Net")
    assert net.built is Built.NO_ARGUMENTS
    assert net.sites == said.job.sites
    outcomes = {result.check: result.outcome for result in net.checks}
    skipped = {
        Check.ORIGINAL_FAILS,
        Check.STATE_DICT,
        Check.BIT_IDENTICAL,
        Check.KEPT_STATE,  # of patched models
        Check.KEPT_EVAL,
        Check.GROUPED,
    }
    of_models = set(Check) - {Check.EVAL_MODE, Check.RESTORED}
    assert outcomes == {c: Outcome.SKIPPED if c in skipped else Outcome.PASSED for c in of_models}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("torch.set_default_dtype(torch.float64)", ""),
        ("", "\n        self.double()"),
        ("", "\n        self.bfloat16()"),
    ],
    ids=["by default", "by its constructor", "in half precision"],
)
def test_a_model_of_another_precision(tmp_path: Path, before: str, after: str) -> None:
    """It is fed numbers of its own type."""
    text = DROPPED.replace("GroupNorm(2, width)⟫", f"GroupNorm(2, width)⟫{after}")
    try:
        said = examined(tmp_path, f"{before}\n{text}")
    finally:
        torch.set_default_dtype(torch.float32)
    assert [verdict for _, verdict in said.verdicts(SiteKind.CALL)] == [Verdict.VERIFIED] * 2


def test_running_stats_fail_and_eval_mode_passes(tmp_path: Path) -> None:
    said = examined(tmp_path, KEPT)
    failed = said.failed()
    assert [result.check for result in failed] == [Check.META_VMAP, Check.VMAP, Check.GRAD]
    assert {result.cause for result in failed} == {Cause.RUNNING_STATS}
    # The GroupNorm is not to blame: it passes once the batch norm's statistics are off.
    batch_norm = tuple(s for s in said.job.sites if "BatchNorm" in s.text)
    assert {result.sites for result in failed} == {batch_norm}
    assert "vmap" in failed[0].trace
    assert said.result(Check.EVAL).outcome is Outcome.PASSED


UNREWRITTEN = {
    "1d": "⟪nn.BatchNorm1d(3)⟫",
    "2d": "⟪nn.BatchNorm2d(3)⟫",
    "3d": "⟪nn.BatchNorm3d(3)⟫",
    "without weights": "⟪nn.BatchNorm2d(3, affine=False)⟫",
    "with statistics that do not move": "⟪nn.BatchNorm2d(3, momentum=0.0)⟫",
    "with a plain mean": "⟪nn.BatchNorm2d(3, momentum=None)⟫",
    "synchronised": "⟪nn.SyncBatchNorm(3)⟫",
    "lazy": "⟪nn.LazyBatchNorm2d()⟫",
    "instance norm": "⟪nn.InstanceNorm2d(3, track_running_stats=True)⟫",
    "a class that is handed on": "make(⟨nn.BatchNorm2d⟩)",
    "a partial": "make(⟨partial(nn.BatchNorm2d, eps=1e-3)⟩)",
    "a lambda": "make(lambda width: ⟪nn.BatchNorm2d(width)⟫)",
    "a subclass": "Own(3)",
    "a function": "Function()",
}
_MAKERS = """
def make(norm_layer):
    return norm_layer(3)

class Own(nn.BatchNorm2d):
    def __init__(self, width):
        OWN

class Function(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("var", torch.ones(3))

    def forward(self, x):
        return FUNCTION

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.norm = NORM

    def forward(self, x):
        return self.norm(self.conv(x).reshape(x.shape + EXTRA))
"""


@pytest.mark.parametrize("kind", UNREWRITTEN)
def test_nothing_with_running_statistics_is_verified(tmp_path: Path, kind: str) -> None:
    norm, own = UNREWRITTEN[kind], "super().__init__(width)"
    function = "F.batch_norm(x, self.mean, self.var, training=self.training)"
    text = _MAKERS.replace("NORM", norm)
    text = text.replace("EXTRA", "(1,)" if kind == "3d" else "()")
    text = text.replace("x.shape + ()", "x.flatten(2).shape" if kind == "1d" else "x.shape")
    text = text.replace("OWN", f"⟪{own}⟫" if kind == "a subclass" else own)
    text = text.replace("FUNCTION", f"⟪{function}⟫" if kind == "a function" else function)
    said = examined(tmp_path, text, **image())
    (result,) = judge(said.job.sites, {}, said.candidates, "cpu")
    assert result.verdict is Verdict.FAILED
    assert result.failure is not None
    assert result.failure.cause is Cause.RUNNING_STATS
    assert said.result(Check.EVAL).outcome is Outcome.PASSED


def test_every_norm_at_fault_is_named(tmp_path: Path) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = ⟪nn.BatchNorm2d(3)⟫
            self.b = ⟪nn.InstanceNorm2d(3, track_running_stats=True)⟫
            self.register_buffer("mean", torch.zeros(3))
            self.register_buffer("var", torch.ones(3))

        def forward(self, x):
            x = self.b(self.a(x))
            return ⟪F.batch_norm(x, self.mean, self.var, training=True)⟫
    """
    said = examined(tmp_path, text, **image())
    assert said.result(Check.META_VMAP).sites == said.job.sites
    assert said.result(Check.EVAL).outcome is Outcome.FAILED  # the function knows no eval mode


def test_a_check_that_ends_before_the_others_have_run_says_nothing_of_them(tmp_path: Path) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = ⟪nn.BatchNorm2d(3)⟫
            self.b = ⟪nn.GroupNorm(1, 3)⟫

        def forward(self, x):
            return torch.empty(x.shape, device=x.device).copy_(self.b(self.a(x)))
    """
    checks = frozenset({Check.META_VMAP, Check.FORWARD, Check.SINGLE})
    said = examined(tmp_path, text, **image(), checks=checks)
    assert said.verdicts(SiteKind.CALL) == [
        ("nn.BatchNorm2d(3)", Verdict.FAILED),
        ("nn.GroupNorm(1, 3)", Verdict.NOT_REACHED),
    ]


def test_norms_built_elsewhere_are_not_put_down_to_a_site(tmp_path: Path) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = ⟪nn.GroupNorm(1, 3)⟫
            self.b = nn.BatchNorm2d(3)

        def forward(self, x):
            return self.b(self.a(x))
    """
    said = examined(tmp_path, text, **image())
    assert said.failed() == []
    result = said.result(Check.VMAP)
    assert "of other norms off: BatchNorm2d built at" in result.message


def test_a_check_is_run_only_if_it_is_wanted(tmp_path: Path) -> None:
    said = examined(tmp_path, DROPPED, checks=frozenset({Check.EVAL, Check.META_VMAP}))
    assert [result.check for result in said.of("Net").checks] == [Check.META_VMAP, Check.EVAL]
    assert said.started == [
        ("", None),
        ("Net", None),
        ("Net", Check.META_VMAP),
        ("Net", Check.EVAL),
    ]


def test_what_was_done_is_not_done_again(tmp_path: Path) -> None:
    sites = examined(tmp_path, DROPPED, checks=frozenset()).job.sites
    path = Path(sites[0].path)
    from bncodemod.verify.examine import examine
    from bncodemod.verify.model import Event, Job

    events: list[Event] = []
    examine(Job(str(path), path.stem, str(tmp_path), sites, done=frozenset(sites)), events.append)
    assert [type(event).__name__ for event in events] == ["Started", "ModuleResult"]


def test_the_cheapest_candidate_is_checked(tmp_path: Path) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.conv = nn.Conv2d(3, width, 3)
            self.bn = ⟪nn.GroupNorm(1, width)⟫

        def forward(self, x):
            return self.bn(self.conv(x))

    class Head(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.bn = ⟪nn.GroupNorm(2, width)⟫

        def forward(self, x):
            return self.bn(x)

    def large():
        return Net(64)

    def small():
        return nn.Sequential(Net(4), Head(4))
    """
    said = examined(tmp_path, text)
    assert [each.name for each in said.candidates if each.checks] == ["small"]
    assert said.of("large").notes == ("not checked: others reach its sites",)


def test_a_model_that_is_built_at_import(tmp_path: Path) -> None:
    text = """
    net = nn.Sequential(nn.Conv2d(3, 4, 1), ⟪nn.BatchNorm2d(4, track_running_stats=False)⟫)
    """
    said = examined(tmp_path, text)
    assert said.of("net").sites == said.job.sites
    assert said.result(Check.VMAP, "net").outcome is Outcome.PASSED


def test_a_candidate_that_killed_a_worker_is_left_out(tmp_path: Path) -> None:
    said = examined(tmp_path, DROPPED, skip=frozenset({"Net"}))
    assert said.candidates == []


def test_what_is_no_module_is_called_by_its_own_name(tmp_path: Path) -> None:
    text = """
    def norm_layer() -> nn.Module:
        return ⟨partial(nn.BatchNorm2d, affine=True)⟩
    """
    refused = examined(tmp_path, text).of("norm_layer")
    assert refused.error == "norm_layer() gave a partial, not a module"


def test_an_exit_at_import_is_an_error(tmp_path: Path) -> None:
    module = examined(tmp_path, "raise SystemExit(3)").module
    assert module.error == "SystemExit: 3"
    assert "__main__" in module.remedy


def test_a_torchvision_for_another_torch_says_what_to_do(tmp_path: Path) -> None:
    text = "raise RuntimeError('operator torchvision::nms does not exist')"
    assert "do not fit each other" in examined(tmp_path, text).module.remedy


def test_a_package_that_is_missing_is_to_be_installed(tmp_path: Path) -> None:
    module = examined(tmp_path, "import nowhere_to_be_found.at_all").module
    assert module.remedy.startswith("install nowhere_to_be_found ")


@pytest.mark.filterwarnings(
    "ignore:.torch.jit:DeprecationWarning", "ignore::torch.jit.TracerWarning"
)
@pytest.mark.parametrize("annotation", ["", " -> nn.Module"])
@pytest.mark.parametrize("compiled", ["script(Net())", "trace(Net(), torch.zeros(2, 3, 4, 4))"])
def test_a_model_that_is_compiled_says_so(tmp_path: Path, compiled: str, annotation: str) -> None:
    text = f"""
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = ⟪nn.GroupNorm(1, 3)⟫

        def forward(self, x):
            return self.norm(x)

    def make(){annotation}:
        net = torch.jit.{compiled}
        return net

    MODEL = torch.jit.script(nn.Sequential(⟪nn.GroupNorm(1, 3)⟫))

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = torch.jit.script(⟪nn.GroupNorm(1, 3)⟫)

        def forward(self, x):
            return self.norm(x)
    """
    said = examined(tmp_path, text)
    for name, how in (("make", "gives a model"), ("MODEL", "gives a model"), ("Outer", "holds")):
        assert f"{name}() {how}" in said.of(name).error
        assert "torch.jit has compiled" in said.of(name).error
    assert [verdict for _, verdict in said.verdicts(SiteKind.CALL)] == [
        Verdict.VERIFIED,
        Verdict.NOT_REACHED,
        Verdict.NOT_REACHED,
    ]


def test_what_alone_reaches_a_site_is_checked_first(tmp_path: Path) -> None:
    source = """
class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = ⟪nn.GroupNorm(1, 4)⟫

    def forward(self, x):
        return self.norm(x)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block()
        self.norm = ⟪nn.GroupNorm(2, 4)⟫

    def forward(self, x):
        return self.norm(self.block(x))
"""
    said = examined(tmp_path, source)
    assert said.result(Check.VMAP).outcome is Outcome.PASSED
    assert said.of("Block").notes == ("not checked: others reach its sites",)
    assert [found for _, found in said.verdicts(SiteKind.CALL)] == [Verdict.VERIFIED] * 2
