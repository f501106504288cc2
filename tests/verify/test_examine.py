"""A module from its import to the checks: what is built and checked, and what that verifies."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from examined import examined, image, net

from bncodemod.verify.model import Built, Cause, Check, Example, Outcome, SiteKind, Verdict
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


@pytest.mark.parametrize("owner", ["Block", "Net"])
def test_the_parts_of_a_dear_model_are_checked_in_its_place(tmp_path: Path, owner: str) -> None:
    source = """
class Block(nn.Module):
    def __init__(self, width, norm_layer):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 1)
        self.norm = BLOCK

    def forward(self, x):
        return self.norm(self.conv(x))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 256, 1)
        self.block = Block(256, NET)

    def forward(self, x):
        assert x.shape[-1] > 200, "size must be large"
        return self.block(self.stem(x))
"""
    block = "⟪nn.GroupNorm(2, width)⟫" if owner == "Block" else "norm_layer(width)"
    net = "None" if owner == "Block" else "⟨partial(nn.GroupNorm, 4)⟩"
    said = examined(tmp_path, source.replace("BLOCK", block).replace("NET", net))
    checked = {each.check for each in said.of("Net").checks}
    assert said.of("Net").notes[0].startswith("its parts were checked in its place")
    assert Check.VMAP in checked
    assert Check.GRAD not in checked
    assert said.of("Block").built is Built.HARVESTED
    assert said.of("Block").sites == said.job.sites
    assert said.result(Check.VMAP, "Block").outcome is Outcome.PASSED


def test_a_part_is_checked_with_the_norm_of_each_dear_model(tmp_path: Path) -> None:
    source = """
class Block(nn.Module):
    def __init__(self, width, norm_layer, scale):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 1)
        self.norm = norm_layer(width)
        self.scale = scale

    def forward(self, x):
        return self.norm(self.conv(x)) * self.scale

class Net(nn.Module):
    def __init__(self, norm_layer):
        super().__init__()
        self.stem = nn.Conv2d(3, 256, 1)
        self.blocks = nn.Sequential(*(Block(256, norm_layer, i) for i in range(14)))

    def forward(self, x):
        assert x.shape[-1] > 60, "size must be large"
        return self.blocks(self.stem(x))

def one() -> nn.Module:
    return Net(⟨partial(nn.GroupNorm, 4)⟩)

def two() -> nn.Module:
    return Net(⟨partial(nn.GroupNorm, 8)⟩)
"""
    said = examined(tmp_path, source)
    assert [found for _, found in said.verdicts(SiteKind.VALUE)] == [Verdict.VERIFIED] * 2
    parts = [each for each in said.candidates if each.name.startswith("Block")]
    assert {site for each in parts for site in each.sites} == set(said.job.sites)
    for name in ("one", "two", *(each.name for each in parts)):
        ran = {each.check for each in said.of(name).checks if each.outcome is Outcome.PASSED}
        assert (Check.GRAD in ran) == name.startswith("Block")
        assert Check.META_VMAP in ran


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


def test_gradients_of_a_large_model_are_those_of_its_smallest_parameters(tmp_path: Path) -> None:
    source = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.wide = nn.Linear(16, 2500)
        self.large = nn.Linear(2500, 2500)
        self.norm = ⟪nn.GroupNorm(4, 2500)⟫

    def forward(self, x):
        return self.norm(self.large(self.wide(x)))
"""
    said = examined(tmp_path, source, checks=frozenset({Check.GRAD}))
    assert said.result(Check.GRAD).outcome is Outcome.PASSED
    assert "gradients were taken of the 5 smallest of 6 parameters" in said.of("Net").notes


def test_what_does_not_run_in_train_mode_under_vmap_is_not_verified(tmp_path: Path) -> None:
    source = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.frozen = ⟪nn.BatchNorm2d(3)⟫
        self.skipped = ⟪nn.GroupNorm(1, 3)⟫
        self.runs = ⟪nn.GroupNorm(3, 3)⟫

    def forward(self, x):
        self.frozen.eval()
        if not torch._C._functorch.is_batchedtensor(x):
            self.skipped(x)
        return self.runs(self.frozen(x))
"""
    said = examined(tmp_path, source, checks=frozenset({Check.META_VMAP, Check.VMAP}), **image())
    assert [verdict for _, verdict in said.verdicts(SiteKind.CALL)] == [
        Verdict.NOT_REACHED,
        Verdict.NOT_REACHED,
        Verdict.VERIFIED,
    ]


def test_a_norm_of_a_functions_call_that_runs_under_vmap_is_verified(tmp_path: Path) -> None:
    source = """
class Net(nn.Module):
    def forward(self, x):
        return ⟪F.batch_norm(x, None, None, training=True)⟫
"""
    said = examined(tmp_path, source, **image())
    assert [verdict for _, verdict in said.verdicts(SiteKind.CALL)] == [Verdict.VERIFIED]


def test_a_norm_of_the_line_that_keeps_statistics_and_does_not_run(tmp_path: Path) -> None:
    source = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList(⟪nn.BatchNorm2d(3, track_running_stats=i > 0)⟫ for i in range(2))

    def forward(self, x, domain=0):
        return self.norms[domain](x)
"""
    said = examined(tmp_path, source, **image())
    assert [verdict for _, verdict in said.verdicts(SiteKind.CALL)] == [Verdict.NOT_REACHED]


@pytest.mark.parametrize("holder", ["list", "tuple", "nn.ModuleList"])
@pytest.mark.parametrize(
    ("flag", "runs", "verdict"),
    [
        ("i > 0", "self.norms[:1]", Verdict.NOT_REACHED),
        ("i > 0", "self.norms", Verdict.FAILED),
        ("False", "self.norms[:1]", Verdict.VERIFIED),
    ],
)
def test_norms_in_a_plain_list_count(
    tmp_path: Path, holder: str, flag: str, runs: str, verdict: Verdict
) -> None:
    runs = runs.replace("self.norms", "list(self.norms)")
    source = f"""
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        norms = [⟪nn.BatchNorm2d(3, track_running_stats={flag})⟫ for i in range(2)]
        self.norms = {holder}(norms)

    def forward(self, x):
        for norm in {runs}:
            x = norm(x)
        return x
"""
    said = examined(tmp_path, source, **image())
    assert [found for _, found in said.verdicts(SiteKind.CALL)] == [verdict]


TWO_KINDS = {
    "one that keeps statistics is frozen": (
        "nn.BatchNorm2d(3, track_running_stats=i > 0)",
        "self.norms[1](self.norms[0](x))",
        Verdict.NOT_REACHED,
    ),
    "one of another class does not run": (
        "(nn.GroupNorm(1, 3) if i else nn.InstanceNorm2d(3))",
        "self.norms[0](x)",
        Verdict.NOT_REACHED,
    ),
    "one of two alike does not run": ("nn.GroupNorm(1, 3)", "self.norms[0](x)", Verdict.VERIFIED),
    "both run": (
        "(nn.GroupNorm(1, 3) if i else nn.InstanceNorm2d(3))",
        "self.norms[1](self.norms[0](x))",
        Verdict.VERIFIED,
    ),
}


@pytest.mark.parametrize(("norm", "answer", "verdict"), TWO_KINDS.values(), ids=TWO_KINDS)
def test_two_kinds_of_norms_of_one_line(
    tmp_path: Path, norm: str, answer: str, verdict: Verdict
) -> None:
    source = f"""
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList(⟪{norm}⟫ for i in range(2))

    def forward(self, x):
        self.norms[1].eval()
        return {answer}
"""
    said = examined(tmp_path, source, **image())
    assert [found for _, found in said.verdicts(SiteKind.CALL)] == [verdict]


@pytest.mark.parametrize("checks", [{Check.FORWARD}, {Check.EVAL, Check.SINGLE}])
def test_only_a_check_under_vmap_verifies(tmp_path: Path, checks: set[Check]) -> None:
    source = net("⟪nn.BatchNorm2d(3)⟫")
    said = examined(tmp_path, source, checks=frozenset(checks), **image())
    assert [verdict for _, verdict in said.verdicts(SiteKind.CALL)] == [Verdict.NOT_REACHED]


def test_a_model_that_fails_by_a_norm_that_is_no_site_says_where(tmp_path: Path) -> None:
    source = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = ⟪nn.BatchNorm2d(3, track_running_stats=False)⟫
        self.two = getattr(nn, "BatchNorm2d")(3)

    def forward(self, x):
        return self.two(self.one(x))
"""
    said = examined(tmp_path, source, **image())
    result = said.result(Check.META_VMAP)
    assert result.outcome is Outcome.PASSED
    assert [place.rpartition(":")[2] for place in result.elsewhere] == ["10"]


@pytest.mark.parametrize(
    ("argument", "verdict"),
    [
        ("8, stats=True", Verdict.FAILED),
        ("8, True", Verdict.FAILED),
        ("16", Verdict.VERIFIED),
        ("8, stats=False", Verdict.VERIFIED),
    ],
)
def test_a_call_that_makes_another_norm_of_the_line_is_tried_too(
    tmp_path: Path, argument: str, verdict: Verdict
) -> None:
    source = """
class Flag(nn.Module):
    def __init__(self, width=8, stats=False):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.bn = ⟪nn.BatchNorm2d(width, track_running_stats=stats)⟫

    def forward(self, x):
        return self.bn(self.conv(x))
"""
    said = examined(tmp_path, source, calls=(Example("Flag", argument),))
    assert [found for _, found in said.verdicts(SiteKind.CALL)] == [verdict]


def test_a_model_that_makes_norms_of_other_lines_only_is_said_to_make_those(
    tmp_path: Path,
) -> None:
    source = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn = ⟪nn.GroupNorm(1, 3)⟫

    def forward(self, x):
        return self.bn(x)

    def reset(self):
        self.bn = ⟪nn.GroupNorm(3, 3)⟫
"""
    said = examined(tmp_path, source)
    assert [found for _, found in said.verdicts(SiteKind.CALL)] == [
        Verdict.VERIFIED,
        Verdict.NOT_REACHED,
    ]
    assert all("makes none" not in each.error for each in said.candidates)
