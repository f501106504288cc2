"""Models with a fault in them: each is caught, and laid to the line that is to blame."""

from __future__ import annotations

from pathlib import Path

import pytest
from examined import examined, image, model, net

from bncodemod.verify.model import Cause, Check, Outcome, SiteKind, Verdict


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


def test_one_value_to_a_group_where_the_samples_are_alike(tmp_path: Path) -> None:
    """A norm before it has taken the mean of each channel away."""
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.GroupNorm(3, 3)
            self.bn = ⟪nn.GroupNorm(3, 3)⟫

        def forward(self, x):
            return self.bn(self.first(x).mean((2, 3)))
    """
    result = examined(tmp_path, text, **image()).result(Check.CONSTANT)
    assert (result.outcome, result.cause) == (Outcome.FAILED, Cause.CONSTANT)


def test_a_mean_that_a_norm_has_taken_away_is_noted(tmp_path: Path) -> None:
    text = net("⟪nn.GroupNorm(3, 3)⟫", "self.bn(x).mean((2, 3))")
    result = examined(tmp_path, text, **image()).result(Check.CONSTANT)
    assert result.outcome is Outcome.NOTED
    assert "the model's answer is the same" in result.message


def test_two_values_to_a_group_keep_a_sign(tmp_path: Path) -> None:
    text = net("⟪nn.GroupNorm(4, 8)⟫")
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


@pytest.mark.parametrize(
    ("groups", "outcome"), [("1", Outcome.FAILED), ("n", Outcome.PASSED)], ids=["mixed", "apart"]
)
def test_the_batch_folded_beside_a_batch_norm(
    groups: str, outcome: Outcome, tmp_path: Path
) -> None:
    """Statistics of the batch are no fault, nor do they hide one; here no answer is a sample's."""
    text = f"""
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = nn.BatchNorm2d(3, track_running_stats=False)

        def forward(self, x):
            n, c, h, w = x.shape
            x = self.bn(x).relu().reshape(1, n * c, h, w)
            return ⟪F.group_norm(x, {groups})⟫.reshape(n, c, h, w).transpose(0, 1)
    """
    result = examined(tmp_path, text, **image()).result(Check.INDEPENDENCE)
    assert result.outcome is outcome


def test_samples_mixed_by_something_else(tmp_path: Path) -> None:
    text = net("⟪nn.GroupNorm(1, 3)⟫", "self.bn(x) - x.mean(0)")
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
    text = net("⟪nn.BatchNorm2d(3, track_running_stats=False)⟫", "x * 2")
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


@pytest.mark.parametrize(
    ("state", "fill"),
    [
        ("self.seen = None", "self.seen = x.mean() if self.seen is None else self.seen"),
        ("self.seen = {}", "self.seen.setdefault(x.shape, x.mean())"),
        ("self.seen = []", "self.seen[:] = self.seen or [x.mean()]"),
    ],
    ids=["an attribute", "a dict", "a list"],
)
def test_a_cache_that_is_filled_once_and_used_again(tmp_path: Path, state: str, fill: str) -> None:
    text = f"""
    def used(seen):
        return sum(seen.values()) if isinstance(seen, dict) else sum(seen, start=0)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            {state}
            self.bn = ⟪nn.GroupNorm(1, 3)⟫

        def forward(self, x):
            {fill}
            seen = self.seen
            return self.bn(x) - (seen if isinstance(seen, torch.Tensor) else used(seen))
    """
    said = examined(tmp_path, text)  # inputs that are searched for fill no cache
    result = said.result(Check.BUFFERS)
    assert (result.outcome, result.cause) == (Outcome.FAILED, Cause.LEAK)
    assert "seen" in result.message
    assert said.result(Check.META_VMAP).outcome is Outcome.PASSED


def test_a_state_that_a_second_call_writes_to_in_place(tmp_path: Path) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.seen = None
            self.bn = ⟪nn.GroupNorm(1, 3)⟫

        def forward(self, x):
            if self.seen is None:
                self.seen = torch.zeros(3)
            else:
                self.seen.add_(x.mean((0, 2, 3)))
            return self.bn(x)
    """
    said = examined(tmp_path, text)
    assert [(each.check, each.cause) for each in said.failed()] == [(Check.BUFFERS, Cause.IN_PLACE)]


def test_the_search_for_inputs_leaves_no_trace(tmp_path: Path) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls, self.seen, self.known = 0, [], {"last": None}
            self.conv = nn.Conv2d(3, 4, 3)
            self.bn = ⟪nn.GroupNorm(1, 4)⟫

        def forward(self, x):
            self.calls += 1
            self.seen.append(x.shape)
            self.known["last"] = x.shape
            if self.calls > 3 or len(self.seen) > 3:
                raise StopIteration
            return self.bn(self.conv(x))
    """
    said = examined(tmp_path, text)
    assert said.failed() == []
    assert [verdict for _, verdict in said.verdicts(SiteKind.CALL)] == [Verdict.VERIFIED]


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
