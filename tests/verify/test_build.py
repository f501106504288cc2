"""How candidates are built: which arguments are found, and by which way."""

from __future__ import annotations

import inspect
import socket
from pathlib import Path

import pytest
import torch
from candidates import Worker, module_of
from torch import nn

from bncodemod.verify.model import Built, Example
from bncodemod.verify.offline import offline
from bncodemod.verify.promises import builds_module
from bncodemod.verify.recorder import Recorder
from bncodemod.verify.refusal import Refusal

NET = """
class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.bn = nn.BatchNorm2d(width)

    def forward(self, x):
        return self.bn(self.conv(x))
"""


def test_without_arguments(tmp_path: Path) -> None:
    prepared = Worker(tmp_path, NET).prepared("Net")
    assert prepared.constructed.how is Built.NO_ARGUMENTS
    assert prepared.constructed.call == "Net()"
    assert next(prepared.constructed.module.parameters()).device.type == "meta"


def test_the_users_example_comes_first(tmp_path: Path) -> None:
    example = Example("Net", "width=2 * 8", ((4, 3, 9, 7),))
    prepared = Worker(tmp_path, NET).prepared("Net", examples=(example,))
    assert prepared.constructed.how is Built.EXAMPLE
    assert prepared.inputs.text == "(N, 3, 9, 7)"
    assert prepared.constructed.rebuild(torch.device("cpu")).bn.num_features == 16


def test_an_example_that_fails_is_not_replaced(tmp_path: Path) -> None:
    outcome = Worker(tmp_path, NET).outcome("Net", examples=(Example("Net", "height=3"),))
    assert isinstance(outcome, Refusal)
    assert "unexpected keyword argument 'height'" in outcome.reason
    assert "Traceback" in outcome.trace


def test_inputs_of_an_example_that_fail_are_not_replaced(tmp_path: Path) -> None:
    outcome = Worker(tmp_path, NET).outcome("Net", examples=(Example("Net", "", ((2, 4, 8, 8),)),))
    assert isinstance(outcome, Refusal)
    assert "(N, 4, 8, 8)" in outcome.reason


@pytest.mark.parametrize(
    "said",
    [
        '"name should be one of: " + ", ".join(WIDTHS)',
        'f"unknown {name!r}, expected one of {list(WIDTHS)}"',
        'f"{name} is not supported. Available models: {tuple(WIDTHS)}."',
    ],
)
def test_a_model_that_a_method_of_its_class_builds_by_name(tmp_path: Path, said: str) -> None:
    source = (
        NET.replace("width=8", "width")
        + f"""
    @classmethod
    def from_name(cls, name):
        cls._check(name)
        net = cls(WIDTHS[name])
        return net

    @staticmethod
    def _check(name):
        if name not in WIDTHS:
            raise ValueError({said})

WIDTHS = {{"small-net": 8, "large-net": 16}}
"""
    )
    prepared = Worker(tmp_path, source).prepared("Net.from_name")
    assert prepared.constructed.call == "Net.from_name(name='small-net')"


def test_a_call_of_the_project(tmp_path: Path) -> None:
    source = NET.replace("width=8", "width, mode").replace("        self.conv", """
        assert mode.startswith("very special")
        self.conv""", 1)  # fmt: skip
    call = Example("Net", "24, mode='very special mode'")
    prepared = Worker(tmp_path, source).prepared("Net", calls=(call,))
    assert prepared.constructed.how is Built.CALL
    assert prepared.constructed.module.bn.num_features == 24


BLOCKS = """
class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, inplanes, planes, stride, cut, norm_layer=None):
        super().__init__()
        norm_layer = norm_layer or nn.BatchNorm2d
        self.body = nn.Sequential(
            nn.Conv2d(inplanes, planes, 1), norm_layer(planes), nn.ReLU(),
            nn.Conv2d(planes, 4 * planes, 3, stride, 1), norm_layer(4 * planes),
        )
        self.cut = cut

    def forward(self, x, scale):
        return self.body(x) + self.cut(x) * scale


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 1)
        self.block = Bottleneck(24, 12, 2, nn.Conv2d(24, 48, 1, 2), norm_layer=nn.BatchNorm2d)

    def forward(self, x):
        return self.block(self.stem(x), 0.5)
"""


def test_a_block_is_built_and_fed_as_the_model_does(tmp_path: Path) -> None:
    worker = Worker(tmp_path, BLOCKS)
    worker.prepared("Model")
    prepared = worker.prepared("Bottleneck")
    assert prepared.constructed.how is Built.HARVESTED
    assert "inplanes=24, planes=12, stride=2, cut=Conv2d(" in prepared.constructed.call
    assert prepared.inputs.text == "(N, 24, 8, 8), 0.5"
    once, again = (prepared.constructed.rebuild(torch.device("cpu")) for _ in range(2))
    assert once.cut is not again.cut
    args, kwargs = prepared.inputs.make("cpu", batch=3, stack=None, seed=0)
    assert once(*args, **kwargs).shape == (3, 48, 4, 4)


def test_arguments_are_those_of_the_call_whatever_the_constructor_makes_of_them(
    tmp_path: Path,
) -> None:
    source = (
        NET
        + """
class Head(nn.Module):
    def __init__(self, first, *sizes):
        super().__init__()
        self.bn = nn.BatchNorm2d(first + sum(sizes))

    def forward(self, x):
        return self.bn(x)

class Detector(nn.Module):
    def __init__(self, backbone, classes=None, head=None):
        if classes is None and head is None:
            raise ValueError("classes should not be None when head is not specified")
        if classes is not None and head is not None:
            raise ValueError("classes should be None when head is specified")
        if head is None:
            head = Head(3, 5)
            backbone = nn.Sequential(backbone)
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, x):
        return self.head(self.backbone(x))

def detector(**kwargs) -> Detector:
    return Detector(Net(8), 91, **kwargs)
"""
    )
    worker = Worker(tmp_path, source)
    worker.prepared("detector")
    assert worker.prepared("Detector").constructed.call == (
        "Detector(backbone=Net(width=8), classes=91)"
    )
    assert worker.prepared("Head").constructed.call == "Head(3, 5)"


def test_signatures_are_the_constructors_while_a_harvest_is_open(tmp_path: Path) -> None:
    source = NET + "\n\nclass Wide(Net):\n    pass\n"
    worker = Worker(tmp_path, source)
    kind = worker.module.Wide
    with worker.harvest:
        assert list(inspect.signature(kind).parameters) == ["width"]
        assert list(inspect.signature(nn.Linear).parameters)[:2] == ["in_features", "out_features"]
    assert vars(worker.module.Net)["__init__"].__qualname__ == "Net.__init__"
    assert not hasattr(vars(worker.module.Net)["__init__"], "__wrapped__")


def test_a_norm_of_the_users_is_built_with_its_own_arguments(tmp_path: Path) -> None:
    source = """
class StandIn(nn.GroupNorm):
    def __init__(self, num_features, eps=1e-5, momentum=0.1, **kwargs):
        self.num_features = num_features
        super().__init__(4, num_features, eps=eps, **kwargs)

class Flat(StandIn):
    def forward(self, x):
        return super().forward(x.flatten(0, -2)).view(x.shape)

class Net(nn.Module):
    def __init__(self, *, width=24):
        super().__init__()
        self.norm = Flat(width, momentum=None)

    def forward(self, x):
        return self.norm(x)
"""
    worker = Worker(tmp_path, source)
    with Recorder([]):
        worker.prepared("Net")
        prepared = worker.prepared("Flat", calls=(Example("Flat", "unknown"),))
    assert prepared.constructed.call == "Flat(num_features=24, momentum=None)"


def test_copies_of_a_module_are_no_calls_of_its_class(tmp_path: Path) -> None:
    source = (
        NET
        + """
import copy

class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.nets = nn.Sequential(*(copy.deepcopy(Net(3)) for _ in range(2)))

    def forward(self, x):
        return self.nets(x)
"""
    )
    worker = Worker(tmp_path, source)
    worker.prepared("Twice")
    kind = worker.module.Net
    assert [seen.keywords for seen in worker.harvest.sightings(kind)] == [{"width": 3}]


def test_constructors_that_ask_for_values_are_built_on_the_cpu_in_part(tmp_path: Path) -> None:
    source = NET.replace(
        "        self.bn =",
        "        self.rates = torch.linspace(0, 1, 4).tolist()\n        self.bn =",
    )
    prepared = Worker(tmp_path, source).prepared("Net")
    assert prepared.constructed.module.rates == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert next(prepared.constructed.module.parameters()).device.type == "meta"


def test_a_large_model_that_asks_for_values_is_not_built(tmp_path: Path) -> None:
    source = """
class Big(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(20_000, 10_000, bias=False)
        self.scale = self.layer.weight.max().item()
        self.norm = nn.BatchNorm1d(10_000)
"""
    outcome = Worker(tmp_path, source).outcome("Big")
    assert isinstance(outcome, Refusal)
    assert "over 100,000,000 parameters" in outcome.reason


def test_train_that_returns_nothing(tmp_path: Path) -> None:
    source = NET + "\n    def train(self, mode=True):\n        super().train(mode)\n"
    prepared = Worker(tmp_path, source).prepared("Net")
    assert isinstance(prepared.constructed.rebuild(torch.device("cpu")), nn.Module)


def test_only_functions_that_promise_a_module_are_called(tmp_path: Path) -> None:
    source = (
        NET
        + """
def promised() -> nn.Module:
    return globals()["Net"]()

def returned(**kwargs):
    net = Net(**kwargs)
    return net

def indirectly():
    return returned()

def train():
    raise SystemExit("deleted everything")

def loss(x):
    return F.relu(x)

def moved(device="cpu"):
    return Net().to(device).train()

def chosen(wanted=True):
    return Net().eval() if wanted else None

def several():
    return {"a": Net(), "b": Net()}

def filled():
    models = {}
    models["a"] = Net()
    return models

def alike():
    return [Net() for _ in range(2)]

def compiled():
    net = Net()
    return torch.compile(net)

def of_numbers():
    return [float(i) for i in range(2)], {"a": len([])}
"""
    )
    module = module_of(tmp_path, source)
    found = {name for name, value in vars(module).items() if builds_module(value)}
    assert found == {
        *("Net", "promised", "returned", "indirectly", "moved", "chosen", "several", "filled"),
        *("alike", "compiled"),
    }
    outcome = Worker(tmp_path, source).outcome("train")
    assert outcome == Refusal("nothing says that it builds a module")


def test_what_is_named_is_called(tmp_path: Path) -> None:
    source = NET + "\nclass Holder:\n    def __init__(self):\n        self.net = Net()\n"
    worker = Worker(tmp_path, source)
    assert isinstance(worker.outcome("Holder"), Refusal)
    prepared = worker.prepared("Holder", examples=(Example("Holder"),))
    assert type(prepared.constructed.module).__name__ == "Net"


@pytest.mark.parametrize(
    ("answer", "count"),
    [
        ("[Net(), Net()]", 2),
        ("{'a': Net(), 'b': Net(), 'c': 3}", 2),
        ("(Net(), Net())", 1),
        ("nn.DataParallel(Net())", 1),
        ("torch.compile(Net())", 1),
    ],
)
def test_models_among_what_is_given_back(tmp_path: Path, answer: str, count: int) -> None:
    source = f"{NET}\ndef build():\n    return {answer}\n"
    prepared = Worker(tmp_path, source).prepared("build")
    model = prepared.constructed.rebuild(torch.device("cpu"))
    models = [model] if count == 1 else list(model.children())
    assert [type(each).__name__ for each in models] == ["Net"] * count


def test_pretrained_weights_are_not_downloaded(tmp_path: Path) -> None:
    source = (
        NET
        + """
from torch.hub import load_state_dict_from_url

class Fancy(nn.Module):
    def __init__(self, weights="DEFAULT"):
        super().__init__()
        self.net = Net()
        if weights is not None:
            raise OSError("no weights here")
        self.net.load_state_dict(load_state_dict_from_url("https://example.invalid/net.pth"))

    def forward(self, x):
        return self.net(x)
"""
    )
    prepared = Worker(tmp_path, source).prepared("Fancy")
    assert prepared.constructed.call == "Fancy(weights=None)"
    assert prepared.constructed.rebuild(torch.device("cpu")).net.bn.weight.sum() == 8


def test_the_network_is_off() -> None:
    with offline(), pytest.raises(OSError, match="network is off"):
        socket.create_connection(("127.0.0.1", 9))


def test_another_target_gets_the_same_arguments(tmp_path: Path) -> None:
    worker = Worker(tmp_path, NET)
    prepared = worker.prepared("Net", examples=(Example("Net", "4"),))
    module = prepared.constructed.rebuild(torch.device("cpu"), lambda width: nn.Linear(width, 1))
    assert module.in_features == 4
