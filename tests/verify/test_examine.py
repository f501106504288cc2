"""A module from its import to the checks: what passes, what fails, and that faults are caught."""

from __future__ import annotations

from pathlib import Path

import pytest
from examined import examined, image, model

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
        Check.INDEPENDENCE,  # of batch statistics
        Check.ORIGINAL_FAILS,
        Check.STATE_DICT,
        Check.BIT_IDENTICAL,
        Check.KEPT_STATE,  # of patched models
        Check.KEPT_EVAL,
    }
    of_models = set(Check) - {Check.EVAL_MODE, Check.RESTORED}
    assert outcomes == {c: Outcome.SKIPPED if c in skipped else Outcome.PASSED for c in of_models}


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


# ---- Planted faults.


def test_a_lambda_that_leaves_the_statistics_on(tmp_path: Path) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self, norm=⟨lambda c: nn.BatchNorm2d(c, track_running_stats=True)⟩):
            super().__init__()
            self.bn = norm(3)

        def forward(self, x):
            return self.bn(x)
    """
    said = examined(tmp_path, text, **image())
    assert said.result(Check.META_VMAP).cause is Cause.RUNNING_STATS
    assert said.result(Check.META_VMAP).sites == said.job.sites


@pytest.mark.parametrize("last", ["", "[..., None, None]"])
def test_one_channel_to_a_group(tmp_path: Path, last: str) -> None:
    text = f"""
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(5, 8)
            self.bn = ⟪nn.GroupNorm(8, 8)⟫

        def forward(self, x):
            return self.bn(self.fc(x){last}).flatten(1)
    """
    said = examined(tmp_path, text, **model("", (2, 5)))
    result = said.result(Check.CONSTANT)
    assert (result.outcome, result.cause) == (Outcome.FAILED, Cause.CONSTANT)
    assert result.sites == said.job.sites


def test_two_values_to_a_group_keep_a_sign(tmp_path: Path) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = ⟪nn.GroupNorm(4, 8)⟫

        def forward(self, x):
            return self.bn(x)
    """
    said = examined(tmp_path, text, **model("", (2, 8)))
    assert said.result(Check.CONSTANT).outcome is Outcome.NOTED


def test_a_norm_whose_weight_starts_at_zero_is_not_constant(tmp_path: Path) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = ⟪nn.GroupNorm(1, 3)⟫
            nn.init.zeros_(self.bn.weight)

        def forward(self, x):
            return x + self.bn(x)
    """
    said = examined(tmp_path, text, **image())
    assert said.result(Check.CONSTANT).outcome is Outcome.PASSED


def test_the_batch_folded_into_the_channels(tmp_path: Path) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))

        def forward(self, x):
            n, c, h, w = x.shape
            y = ⟪F.group_norm(x.reshape(1, n * c, h, w), 1)⟫
            return y.reshape(x.shape) * self.weight[:, None, None]
    """
    said = examined(tmp_path, text, **image())
    result = said.result(Check.INDEPENDENCE)
    assert (result.outcome, result.cause) == (Outcome.FAILED, Cause.BATCH_FOLDED)
    assert result.sites == said.job.sites


def test_a_norm_that_mixes_samples(tmp_path: Path) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))

        def forward(self, x):
            y = ⟪F.group_norm(x.transpose(0, 1), 1)⟫.transpose(0, 1)
            return y * self.weight[:, None, None]
    """
    said = examined(tmp_path, text, **image())
    result = said.result(Check.INDEPENDENCE)
    assert (result.outcome, result.cause) == (Outcome.FAILED, Cause.DEPENDENT)


def test_samples_mixed_by_something_else(tmp_path: Path) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = ⟪nn.GroupNorm(1, 3)⟫

        def forward(self, x):
            return self.bn(x) - x.mean(0)
    """
    result = examined(tmp_path, text, **image()).result(Check.INDEPENDENCE)
    assert (result.outcome, result.cause) == (Outcome.NOTED, Cause.DEPENDENT)


def test_a_line_that_is_never_executed(tmp_path: Path) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            if torch.__version__ < "1":
                self.bn = ⟪nn.BatchNorm2d(3, track_running_stats=False)⟫
            else:
                self.bn = nn.BatchNorm2d(3, track_running_stats=False)

        def forward(self, x):
            return self.bn(x)
    """
    said = examined(tmp_path, text)
    assert said.reached() == []
    assert all(not each.checks for each in said.candidates)


def test_a_norm_that_is_built_and_not_run(tmp_path: Path) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = ⟪nn.BatchNorm2d(3, track_running_stats=False)⟫

        def forward(self, x):
            return x * 2
    """
    assert examined(tmp_path, text, **image()).reached() == []


def test_a_wrong_rule_for_vmap(tmp_path: Path) -> None:
    text = """
    class Scale(torch.autograd.Function):
        @staticmethod
        def forward(x):
            return x * 2

        @staticmethod
        def setup_context(ctx, inputs, output):
            pass

        @staticmethod
        def backward(ctx, grad):
            return grad * 2

        @staticmethod
        def vmap(info, in_dims, x):
            return (x * 2).flip(0), in_dims[0]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = ⟪nn.GroupNorm(1, 3)⟫

        def forward(self, x):
            return self.bn(Scale.apply(x) + x)
    """
    said = examined(tmp_path, text, **image())
    result = said.result(Check.VMAP)
    assert (result.outcome, result.cause) == (Outcome.FAILED, Cause.DIFFERS)
    assert "off by" in result.message


def test_state_outside_of_the_model(tmp_path: Path) -> None:
    text = """
    CALLS = [0]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = ⟪nn.GroupNorm(1, 3)⟫

        def forward(self, x):
            CALLS[0] += 1
            return self.bn(x) * CALLS[0]
    """
    assert examined(tmp_path, text, **image()).result(Check.VMAP).cause is Cause.DIFFERS


LEAKS = {
    "a buffer": ('self.register_buffer("seen", torch.zeros(3))', Outcome.FAILED),
    "a tensor beside the buffers": ("self.seen = torch.zeros(3)", Outcome.FAILED),
    "a cache": ("self.seen = None", Outcome.NOTED),
    "a cache that holds something else at first": (
        "self.seen = [torch.tensor(0)]",
        Outcome.NOTED,
    ),
}


@pytest.mark.parametrize(("state", "outcome"), LEAKS.values(), ids=LEAKS)
def test_a_leak(tmp_path: Path, state: str, outcome: Outcome) -> None:
    text = f"""
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            {state}
            self.bn = ⟪nn.GroupNorm(1, 3)⟫

        def forward(self, x):
            self.seen = x.mean((0, 2, 3))
            return self.bn(x)
    """
    said = examined(tmp_path, text, **image())
    result = said.result(Check.BUFFERS)
    assert (result.outcome, result.cause) == (outcome, Cause.LEAK)
    assert "seen" in result.message
    if outcome is Outcome.FAILED:
        text = Path(result.path).read_text().splitlines()
        assert text[result.line - 1].strip() == "self.seen = x.mean((0, 2, 3))"
    assert said.result(Check.VMAP).outcome is Outcome.PASSED


# ---- What models take and give.

ANSWERS = {
    "a dict": '{"out": y, "aux": [y.mean(), None, "text"]}',
    "a tuple": "(y, (y + 1,), 3)",
    "a dataclass": "Answer(y, {'more': y * 2})",
    "a namespace": "types.SimpleNamespace(out=y)",
    "a distribution": "torch.distributions.Normal(y, y.exp(), validate_args=False)",
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_answers(tmp_path: Path, answer: str) -> None:
    text = f"""
    import types
    from dataclasses import dataclass

    @dataclass
    class Answer:
        out: torch.Tensor
        more: dict

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = ⟪nn.BatchNorm2d(3, track_running_stats=False)⟫

        def forward(self, x):
            y = self.bn(x)
            return {answer}
    """
    said = examined(tmp_path, text, **image())
    assert said.failed() == []
    assert said.result(Check.GRAD).outcome is Outcome.PASSED


def test_dropout_is_switched_off_and_said(tmp_path: Path) -> None:
    text = """
    class DropPath(nn.Module):
        def __init__(self, drop_prob):
            super().__init__()
            self.drop_prob = drop_prob

        def forward(self, x):
            if not self.training or not self.drop_prob:
                return x
            return x * torch.zeros(x.shape[0], 1, 1, 1).bernoulli_(1 - self.drop_prob)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = ⟪nn.BatchNorm2d(3, track_running_stats=False)⟫
            self.drop = nn.Sequential(nn.Dropout2d(0.5), DropPath(0.5))

        def forward(self, x):
            return self.drop(self.bn(x))
    """
    said = examined(tmp_path, text, **image())
    assert said.failed() == []
    assert "switched off to compare: DropPath, Dropout2d" in said.of("Net").notes


def test_random_numbers_of_a_function(tmp_path: Path) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = ⟪nn.BatchNorm2d(3, track_running_stats=False)⟫

        def forward(self, x):
            return F.dropout(self.bn(x), 0.5, self.training)
    """
    said = examined(tmp_path, text, **image())
    assert said.failed() == []
    path, line = said.job.path, said.job.sites[0].line + 3
    assert any(f"random numbers are drawn at {path}:{line}" in n for n in said.of("Net").notes)


def test_one_value_for_a_channel(tmp_path: Path) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = ⟪nn.BatchNorm1d(6, track_running_stats=False)⟫

        def forward(self, x):
            return self.bn(x)
    """
    said = examined(tmp_path, text, **model("", (2, 6)))
    assert said.failed() == []
    single = said.result(Check.SINGLE)
    assert (single.outcome, single.cause) == (Outcome.NOTED, Cause.SINGLE_SAMPLE)
    assert "pairs of samples" in said.result(Check.GRAD).message


def test_weights_that_are_computed(tmp_path: Path) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.utils.weight_norm(nn.Conv2d(3, 4, 3))
            self.bn = ⟪nn.BatchNorm2d(4, track_running_stats=False)⟫

        def forward(self, x):
            return self.bn(self.conv(x))
    """
    said = examined(tmp_path, text, **image())
    assert said.result(Check.VMAP).outcome is Outcome.PASSED


def test_lazy_layers(tmp_path: Path) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.LazyConv2d(4, 3)
            self.bn = ⟪nn.LazyBatchNorm2d(track_running_stats=False)⟫

        def forward(self, x):
            return self.bn(self.conv(x))
    """
    said = examined(tmp_path, text, **image())
    assert said.result(Check.VMAP).outcome is Outcome.PASSED
    assert said.of("Net").sites == said.job.sites


@pytest.mark.parametrize(
    ("norm", "cause"),
    [("nn.BatchNorm2d(4, track_running_stats=False)", Cause.STRIDED), ("nn.GroupNorm(1, 4)", None)],
)
def test_a_gradient_that_comes_back_strided(tmp_path: Path, norm: str, cause: Cause) -> None:
    text = f"""
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = ⟪{norm}⟫

        def forward(self, x):
            x = self.norm(x).flatten(2).transpose(1, 2)
            return x.transpose(1, 2) @ x
    """
    result = examined(tmp_path, text, **image(4)).result(Check.GRAD)
    assert result.cause is cause
    assert ("flatten" in result.remedy) == (cause is not None)


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
    assert said.of("Net").notes[0].startswith("its parts were checked in its place")
    assert Check.VMAP not in {each.check for each in said.of("Net").checks}
    assert said.result(Check.META_VMAP).outcome is Outcome.PASSED
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


# ---- Inputs that are guessed.


def test_what_only_a_device_refuses_leads_to_other_inputs(tmp_path: Path) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.randn(LENGTH, 4))
            self.bn = ⟪nn.BatchNorm1d(4, track_running_stats=False)⟫

        def forward(self, ids):
            return self.bn(self.table[ids].transpose(1, 2))
    """
    said = examined(tmp_path, text.replace("LENGTH", "10"))
    assert said.verdicts(SiteKind.CALL) == [(BATCH_NORM_1D, Verdict.VERIFIED)]
    said = examined(tmp_path, text.replace("LENGTH", "1"))
    assert said.verdicts(SiteKind.CALL) == [(BATCH_NORM_1D, Verdict.NOT_REACHED)]
    assert said.of("Net").error.startswith("Net could not be fed: ")
    assert "out of" in said.of("Net").error


BATCH_NORM_1D = "nn.BatchNorm1d(4, track_running_stats=False)"


# ---- What is no failure, and what is one.


def test_an_answer_of_integers_has_no_gradients(tmp_path: Path) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = ⟪nn.BatchNorm2d(3, track_running_stats=False)⟫

        def forward(self, x):
            return self.bn(x).argmax(1)
    """
    said = examined(tmp_path, text, **image())
    assert said.failed() == []
    assert said.result(Check.GRAD).outcome is Outcome.SKIPPED
    assert said.result(Check.VMAP).outcome is Outcome.PASSED


def test_rounding_that_float64_cannot_settle_is_no_difference(tmp_path: Path) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(1, 8, 3, padding=1)
            self.bn = ⟪nn.BatchNorm1d(8, track_running_stats=False)⟫
            self.rnn = nn.LSTM(8, 8, batch_first=True)

        def forward(self, x):
            return self.rnn(self.bn(self.conv(x)).transpose(1, 2))[0]  # here
    """
    said = examined(tmp_path, text)
    assert {result.cause for result in said.failed()} == {Cause.RNN}
    (site,) = judge(said.job.sites, {}, said.candidates, "cpu")
    assert site.failure is not None
    assert site.failure.check is Check.VMAP


def test_what_fails_under_vmap_in_a_later_call(tmp_path: Path) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = ⟪nn.BatchNorm2d(3, track_running_stats=False)⟫
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            x = self.bn(x)
            return x if self.calls == 1 else x * x.sum().item()
    """
    said = examined(tmp_path, text, **image())
    assert [(each.check, each.cause) for each in said.failed()] == [(Check.BUFFERS, Cause.ITEM)]


def test_a_note_on_pairs_of_samples_says_nothing_of_batch_norms(tmp_path: Path) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.gn = ⟪nn.GroupNorm(4, 4)⟫

        def forward(self, x):
            return self.gn(x)
    """
    said = examined(tmp_path, text, **model("", (2, 4)))
    (note,) = (note for note in said.of("Net").notes if "pairs" in note)
    assert "batch norm" not in note


_CALLED_RANDOM = """
class BatchNormDropout(nn.BatchNorm2d):
    def forward(self, x):
        return F.dropout(super().forward(x), 0.5, self.training)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.bn = ⟪BatchNormDropout(8)⟫

    def forward(self, x):
        return self.bn(self.conv(x))
"""
_NORM_IN_RANDOM = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.branch = DropoutBranch()

    def forward(self, x):
        return self.branch(x)

class DropoutBranch(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn = ⟪nn.BatchNorm2d(3)⟫
        self.drop = nn.Dropout(0.1)

    def forward(self, x):
        return self.drop(self.bn(x)) if self.training else x
"""


@pytest.mark.parametrize("source", [_CALLED_RANDOM, _NORM_IN_RANDOM])
def test_a_norm_is_not_put_into_eval_mode_for_the_name_that_holds_it(
    tmp_path: Path, source: str
) -> None:
    said = examined(tmp_path, source, **image())
    assert [verdict for _, verdict in said.verdicts(SiteKind.CALL)] == [Verdict.FAILED]
    assert said.result(Check.META_VMAP).cause is Cause.RUNNING_STATS


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
    source = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = ⟪nn.BatchNorm2d(3)⟫

    def forward(self, x):
        return self.norm(x)
"""
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
