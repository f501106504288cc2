"""What the emitted patches do to real models: they run under vmap and load what they loaded."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

import torchvision_import
from bncodemod.core import rewrite
from bncodemod.settings import PATCHES, Settings

torch = pytest.importorskip("torch")
torchvision_import.prepare()
models = pytest.importorskip("torchvision.models")
nn = torch.nn

PRELUDE = """\
import torch
from torch import nn
from torchvision import models


def load_checkpoint(model, path):
    model.load_state_dict(torch.load(path))


"""
# Each form in which a model is built, in a function that may load weights.
FORMS = {
    "assignment": "    model = models.shufflenet_v2_x0_5()\n    return model",
    "return value": "    return models.shufflenet_v2_x0_5()",
    "chain": "    net = models.shufflenet_v2_x0_5().to('cpu').double().float()\n    return net",
    "parallel": "    net = nn.DataParallel(models.shufflenet_v2_x0_5())\n    return net.module",
    "argument": "    return nn.Sequential(models.shufflenet_v2_x0_5())",
    "comprehension": "    return [models.shufflenet_v2_x0_5() for _ in range(2)][-1]",
    "lambda": "    return (lambda: models.shufflenet_v2_x0_5())()",
    "one line": "    if True: net = models.shufflenet_v2_x0_5()\n    return net",
    "several": "    a, b = models.shufflenet_v2_x0_5(), models.shufflenet_v2_x0_5()\n    return b",
    "value": "    make = models.shufflenet_v2_x0_5\n    return make()",
    "looked up": "    return models.__dict__['shufflenet_v2_x0_5']()",
}
LOADING = {
    "load": "    net = models.shufflenet_v2_x0_5()\n    net.load_state_dict(torch.load(path))\n"
    "    return net",
    "branch": "    net = models.shufflenet_v2_x0_5()\n    if path:\n"
    "        net.load_state_dict(torch.load(path))\n    return net",
    "helper": "    net = models.shufflenet_v2_x0_5()\n    load_checkpoint(net, path)\n"
    "    return net",
    "state of another": "    net = models.shufflenet_v2_x0_5()\n"
    "    twin = models.shufflenet_v2_x0_5()\n    net.load_state_dict(torch.load(path))\n"
    "    twin.load_state_dict(net.state_dict())\n    return twin",
    "alias": "    net = models.shufflenet_v2_x0_5()\n    outer = nn.DataParallel(net)\n"
    "    outer.module.load_state_dict(torch.load(path))\n    return net",
}

ELSEWHERE = {
    "factory": "    net = make()\n    net.load_state_dict(torch.load(path))\n    return net",
    "method": "    holder = Holder()\n    holder.restore(path)\n    return holder.net",
    "class method": "    return Holder.load_from_checkpoint(path).net",
    "handed on": "    net = models.shufflenet_v2_x0_5()\n    initialised(net, path)\n"
    "    return net",
    "in the class": "    return Loading(path).net",
    "subclass": "    net = Own()\n    net.load_state_dict(torch.load(path))\n    return net",
    "own subclass": "    return OwnLoading(path)",
}
HOLDERS = """\
def make():
    return models.shufflenet_v2_x0_5()


def initialised(module, path):
    module.load_state_dict(torch.load(path))
    return module


class Holder(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = models.shufflenet_v2_x0_5()

    def restore(self, path):
        self.net.load_state_dict(torch.load(path))

    @classmethod
    def load_from_checkpoint(cls, path):
        holder = cls()
        state = {f"net.{key}": value for key, value in torch.load(path).items()}
        holder.load_state_dict(state)
        return holder


class Loading(nn.Module):
    def __init__(self, path):
        super().__init__()
        self.net = models.shufflenet_v2_x0_5()
        self.net.load_state_dict(torch.load(path))


class Own(models.ShuffleNetV2):
    def __init__(self):
        super().__init__([4, 8, 4], [24, 48, 96, 192, 1024])


class OwnLoading(models.ShuffleNetV2):
    def __init__(self, path):
        super().__init__([4, 8, 4], [24, 48, 96, 192, 1024])
        self.load_state_dict(torch.load(path))


"""

every_patch = pytest.mark.parametrize("kind", PATCHES)


def patched(body: str, kind: str, before: str = "") -> Any:
    """The function ``build`` of that body, after the rewrite."""
    source = f"{PRELUDE}{before}def build(path=None):\n{body}\n".encode()
    after = rewrite(source, "a.py", Settings("runtime-patch", patch=kind)).after
    assert after is not None
    scope: dict[str, Any] = {}
    exec(compile(after, "a.py", "exec"), scope)
    return scope["build"]


def helper(kind: str) -> Any:
    """The function that makes a patch, taken from a rewritten file."""
    name = {
        "replace": "replace_all_batch_norm_modules_",
        "keep-statistics": "freeze_batch_norm_statistics",
        "group-norm": "batch_norms_to_group_norms",
    }[kind]
    return patched(FORMS["assignment"], kind).__globals__[name]


def batch(*shape: int) -> Any:
    return torch.randn(2, *shape)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """The weights of a model that has seen some data."""
    torch.manual_seed(0)
    model = models.shufflenet_v2_x0_5()
    model(batch(3, 32, 32))
    torch.save(model.state_dict(), tmp_path / "model.pt")
    return tmp_path / "model.pt"


def left(model: Any) -> list[Any]:
    """The norms that would update their statistics."""
    return [m for m in model.modules() if getattr(m, "track_running_stats", False)]


@every_patch
@pytest.mark.parametrize("form", FORMS)
def test_the_model_is_patched_whatever_the_form(form: str, kind: str) -> None:
    model = patched(FORMS[form], kind)()
    assert model.training
    assert left(model) == []


@every_patch
def test_a_patched_model_runs_under_vmap_in_train_mode(kind: str) -> None:
    model = patched(FORMS["assignment"], kind)().double()
    x = batch(2, 3, 32, 32).double()
    together = torch.func.vmap(model, randomness="different")(x)
    torch.testing.assert_close(together, torch.stack([model(part) for part in x]))


@every_patch
@pytest.mark.parametrize("form", LOADING)
def test_a_strict_load_goes_on_working(form: str, kind: str, checkpoint: Path) -> None:
    model = patched(LOADING[form], kind)(checkpoint)
    assert left(model) == []
    loaded = torch.load(checkpoint)["conv1.0.weight"]
    assert torch.equal(next(model.parameters()), loaded)


@every_patch
@pytest.mark.parametrize("form", LOADING)
def test_a_strict_load_of_an_old_checkpoint_goes_on_working(
    form: str, kind: str, checkpoint: Path
) -> None:
    """torch fills in ``num_batches_tracked`` only where statistics are tracked."""
    state = torch.load(checkpoint)
    old = {key: value for key, value in state.items() if not key.endswith("_tracked")}
    torch.save(old, checkpoint)
    model = patched(LOADING[form], kind)(checkpoint)
    assert left(model) == []
    assert torch.equal(next(model.parameters()), state["conv1.0.weight"])


TRAINING = """\
import copy
from torch.func import functional_call, grad, vmap


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)

    def forward(self, x):
        return self.norm(self.conv(x))


def steps(net, path):
    \"\"\"Per-sample gradients, once for each epoch.\"\"\"

    def loss(parameters, x):
        return functional_call(net, parameters, (x[None],)).square().mean()

    for _ in range(2):
        gradients = vmap(grad(loss), (None, 0))(
            dict(net.named_parameters()), torch.randn(2, 3, 8, 8)
        )
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                parameter -= gradients[name].mean(0)
        yield


"""
START = "    net = Small()\n"
PUT_BACK = {
    "deepcopy": f"{START}    best = None\n    for _ in steps(net, path):\n"
    "        best = best or copy.deepcopy(net.state_dict())\n"
    "    net.load_state_dict(best)\n    return net",
    "comprehension": f"{START}    for _ in steps(net, path):\n"
    "        best = {key: value.clone() for key, value in net.state_dict().items()}\n"
    "    net.load_state_dict(best)\n    return net",
    "from the start": f"{START}    start = copy.deepcopy(net.state_dict())\n"
    "    for _ in steps(net, path):\n        net.load_state_dict(start)\n    return net",
    "behind a checkpoint": f"{START}    net.load_state_dict(torch.load(path))\n"
    "    start = copy.deepcopy(net.state_dict())\n    list(steps(net, path))\n"
    "    net.load_state_dict(start)\n    return net",
    "saved": f"{START}    for _ in steps(net, path):\n        torch.save(net.state_dict(), path)\n"
    "    net.load_state_dict(torch.load(path))\n    return net",
}


@every_patch
@pytest.mark.parametrize("form", PUT_BACK)
def test_a_model_is_patched_before_it_runs(form: str, kind: str, tmp_path: Path) -> None:
    """Though weights are put back behind that: those which are its own fit."""
    build = patched(PUT_BACK[form], kind, before=TRAINING)
    torch.save(build.__globals__["Small"]().state_dict(), tmp_path / "small.pt")
    assert left(build(tmp_path / "small.pt")) == []


@every_patch
@pytest.mark.parametrize("form", ELSEWHERE)
def test_a_load_in_another_scope_goes_on_working(form: str, kind: str, checkpoint: Path) -> None:
    """Whatever becomes of the model: it is patched, or reported because it is loaded later."""
    model = patched(ELSEWHERE[form], kind, before=HOLDERS)(checkpoint)
    loaded = torch.load(checkpoint)["conv1.0.weight"]
    assert torch.equal(next(model.parameters()), loaded)
    expected = kind == "keep-statistics" or form in ("handed on", "in the class", "own subclass")
    assert (left(model) == []) is expected


@every_patch
def test_what_a_patch_does_to_a_later_load(kind: str, checkpoint: Path) -> None:
    """The fact that decides where a patch may stand."""
    model = helper(kind)(models.shufflenet_v2_x0_5())
    state = torch.load(checkpoint)
    if kind == "keep-statistics":
        model.load_state_dict(state)
        old = {key: value for key, value in state.items() if not key.endswith("_tracked")}
        with pytest.raises(RuntimeError, match="Missing key"):
            model.load_state_dict(old)
        return
    with pytest.raises(RuntimeError, match="Unexpected key"):
        model.load_state_dict(state)
    assert model.load_state_dict(state, strict=False).missing_keys == []


@every_patch
def test_what_is_saved_behind_a_patch_loads_into_what_is_not_patched_yet(
    kind: str, checkpoint: Path, tmp_path: Path
) -> None:
    """A script that resumes from its own checkpoints: with the statistics kept it goes on."""
    build = patched(LOADING["load"], kind)
    torch.save(build(checkpoint).state_dict(), tmp_path / "own.pt")
    if kind == "keep-statistics":
        build(tmp_path / "own.pt")
    else:
        with pytest.raises(RuntimeError, match="Missing key"):
            build(tmp_path / "own.pt")


def test_kept_statistics_leave_eval_mode_and_the_state_dict_as_they_were(checkpoint: Path) -> None:
    original = models.shufflenet_v2_x0_5()
    original.load_state_dict(torch.load(checkpoint))
    model = patched(LOADING["load"], "keep-statistics")(checkpoint)
    assert model.state_dict().keys() == original.state_dict().keys()
    x = batch(3, 32, 32)
    assert torch.equal(model.eval()(x), original.eval()(x))
    model.train()(x)
    model.load_state_dict(original.state_dict())
    assert torch.equal(model.eval()(x), original(x))


def test_kept_statistics_are_those_of_batch_norms_only() -> None:
    instance = nn.InstanceNorm2d(4, track_running_stats=True).eval()
    x = batch(4, 3, 3)
    before = instance(x)
    assert torch.equal(helper("keep-statistics")(nn.Sequential(instance))(x), before)


class Shared(nn.Module):
    """Norms of every kind, one of them under three names."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.BatchNorm2d(24, eps=1e-3)
        self.again = self.one
        self.inner = nn.Sequential(self.one, nn.SyncBatchNorm(16), nn.BatchNorm1d(8, affine=False))
        self.small = nn.BatchNorm2d(2)
        self.own = WithActivation(8)
        self.lazy = nn.LazyBatchNorm2d()
        self.nothing = None


class WithActivation(nn.BatchNorm2d):
    """A norm that does more than normalise, as the helper cannot know."""

    def forward(self, x: Any) -> Any:
        return super().forward(x).relu()


def test_group_norms_take_over_what_the_batch_norms_had() -> None:
    model = Shared().double()
    model.one.weight.data.uniform_()
    model.one.requires_grad_(False)
    model.inner[1].eval()
    weight, bias = model.one.weight, model.one.bias
    with pytest.warns(UserWarning, match="LazyBatchNorm2d, WithActivation"):
        assert helper("group-norm")(model) is model
    assert model.one is model.again is model.inner[0]
    assert isinstance(model.one, nn.GroupNorm)
    assert (model.one.num_groups, model.one.num_channels, model.one.eps) == (6, 24, 1e-3)
    assert model.one.weight is weight
    assert model.one.bias is bias
    assert model.one.weight.dtype is torch.float64
    assert not model.one.weight.requires_grad
    assert [m.training for m in (model.one, *model.inner)] == [True, True, False, True]
    assert isinstance(model.inner[1], nn.GroupNorm)
    assert model.inner[2].weight is None
    assert model.nothing is None


def test_hooks_of_a_norm_go_on_being_called() -> None:
    model, called = nn.Sequential(nn.BatchNorm2d(8)), []
    model[0].register_forward_pre_hook(lambda *_: called.append("before"))
    handle = model[0].register_forward_hook(lambda *_: called.append("behind"))
    model[0].register_full_backward_hook(lambda *_: called.append("back"))
    assert isinstance(helper("group-norm")(model)[0], nn.GroupNorm)
    model(batch(8, 3, 3).requires_grad_()).sum().backward()
    assert called == ["before", "behind", "back"]
    handle.remove()
    model(batch(8, 3, 3))
    assert called == ["before", "behind", "back", "before"]


def test_norms_of_timm_keep_their_activation() -> None:
    layers = pytest.importorskip("timm.layers")
    norm = layers.BatchNormAct2d(24, eps=1e-3, act_layer=nn.SiLU, drop_layer=nn.Dropout)
    sync = layers.convert_sync_batchnorm(layers.BatchNormAct2d(24, apply_act=False))
    model = nn.Sequential(norm, sync, norm)
    keys = [key for key in model.state_dict() if key.endswith(("weight", "bias"))]
    norm.weight.data.uniform_()
    helper("group-norm")(model).eval()
    assert model[0] is model[2]
    assert (model[0].drop, model[0].act, model[0].weight) == (norm.drop, norm.act, norm.weight)
    assert list(model.state_dict()) == keys
    x = batch(24, 3, 3)
    plain = nn.functional.group_norm(x, 6, norm.weight, norm.bias, eps=1e-3)
    torch.testing.assert_close(model[0](x), nn.functional.silu(plain))
    torch.testing.assert_close(model[1](x), nn.functional.group_norm(x, 6))


def test_no_batch_norm_is_left_in_a_model_of_timm() -> None:
    timm = pytest.importorskip("timm")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = helper("group-norm")(timm.create_model("mobilenetv3_small_050"))
    left = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert left == []
    x = batch(3, 32, 32)
    with torch.no_grad():
        together, alone = model.train()(x)[0], model(x[:1])[0]
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (nn.Sequential(WithActivation(8)), "WithActivation"),
        (nn.Sequential(nn.LazyBatchNorm2d()), "LazyBatchNorm2d"),
        (nn.BatchNorm2d(8), "BatchNorm2d"),  # nothing holds it
    ],
)
def test_what_remains_a_batch_norm_is_named_when_it_runs(model: Any, name: str) -> None:
    with pytest.warns(UserWarning, match=f"no GroupNorm takes the place of {name}$"):
        helper("group-norm")(model)


def test_what_cannot_be_a_group_norm_keeps_no_statistics() -> None:
    with pytest.warns(UserWarning, match="LazyBatchNorm2d, WithActivation"):
        model = helper("group-norm")(Shared())
    for norm in (model.small, model.own, model.lazy):
        assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
        assert not norm.track_running_stats
    assert bool((model.own(batch(8, 3, 3)) >= 0).all())


@every_patch
def test_a_patch_gives_back_the_model_itself(kind: str) -> None:
    for model in (nn.BatchNorm2d(8), nn.Sequential(nn.BatchNorm2d(8))):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a norm that nothing holds stays a batch norm
            assert helper(kind)(model) is model
        torch.func.vmap(model)(batch(2, 8, 3, 3))


def test_the_groups_follow_the_settings() -> None:
    source = b"from torchvision import models\n\nmodel = models.densenet121()\n"
    settings = Settings("runtime-patch", groups=8, min_group_size=1, patch="group-norm")
    after = rewrite(source, "a.py", settings).after
    assert after is not None
    scope: dict[str, Any] = {}
    exec(after, scope)
    groups = {m.num_groups for m in scope["model"].modules() if isinstance(m, nn.GroupNorm)}
    assert groups == {8}
