"""eval-mode with real torch: what failed runs, and every module is afterwards as it was before."""

from __future__ import annotations

from typing import Any

import pytest

from bncodemod.core import rewrite
from bncodemod.model import Status
from bncodemod.settings import Settings

torch = pytest.importorskip("torch")

HEAD = """\
import torch
from torch import func, nn
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, vmap


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
        self.frozen = nn.BatchNorm1d(4).eval()

    def forward(self, x):
        return self.frozen(self.body(x))


"""
USES = {
    "vmap": "def use(model, x):\n    return vmap(model)(x)\n",
    "a name": "def use(model, x):\n    f = vmap(model)\n    y = f(x)\n    return y\n",
    "jacrev": "def use(model, x):\n    return jacrev(model)(x[0])\n",
    "jacfwd": "def use(model, x):\n    return jacfwd(model)(x[0])\n",
    "hessian": "def use(model, x):\n    return hessian(lambda r: model(r).sum())(x[0])\n",
    "vmap(jacrev)": "def use(model, x):\n    return vmap(jacrev(model))(x)\n",
    "vmap(grad)": (
        "def use(model, x):\n"
        "    def out(rows):\n"
        "        return model(rows).sum()\n"
        "    return vmap(grad(out))(x)\n"
    ),
    "functional_call": (
        "def use(model, x):\n"
        "    p = {k: v.detach() for k, v in model.named_parameters()}\n"
        "    return vmap(lambda q, r: functional_call(model, q, (r,)), in_dims=(None, 0))(p, x)\n"
    ),
    "ntk": (
        "def use(model, x):\n"
        "    p = {k: v.detach() for k, v in model.named_parameters()}\n"
        "    return jacrev(functional_call, argnums=1)(model, p, (x[0],))\n"
    ),
    "jvp": "def use(model, x):\n    return func.jvp(model, (x[0],), (x[0],))[1]\n",
}


def functions(text: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    exec(compile(text, "script.py", "exec"), namespace)
    return namespace


def rewritten(text: str) -> str:
    result = rewrite(text.encode(), "script.py", Settings("eval-mode"))
    assert {f.status for f in result.findings} == {Status.REWRITTEN, Status.SAFE}
    assert result.after is not None
    return result.after.decode()


def state(model: Any) -> list[Any]:
    """The mode of every module, and every buffer."""
    modes = [(name, module.training) for name, module in model.named_modules()]
    return [*modes, *((name, value.tolist()) for name, value in model.named_buffers())]


def net(namespace: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    model = namespace["Net"]()
    for _ in range(3):
        model(torch.randn(8, 3))
    return model


@pytest.mark.parametrize("form", USES)
def test_what_failed_runs_and_leaves_nothing_behind(form: str) -> None:
    text = HEAD + USES[form]
    x = torch.randn(2, 8, 3)
    before = functions(text)
    with pytest.raises(RuntimeError, match=r"running_mean|mutate"):
        before["use"](net(before), x)

    after = functions(rewritten(text))
    model = net(after)
    as_it_was = state(model)
    value = after["use"](model, x)
    assert state(model) == as_it_was
    assert model.training
    assert not model.frozen.training

    # The same as the page's way, by hand.
    evaluated = net(before).eval()
    torch.testing.assert_close(value, before["use"](evaluated, x))


def test_what_updated_silently_no_longer_does() -> None:
    text = HEAD + ("def use(model, x):\n    return torch.autograd.functional.jacobian(model, x)\n")
    x = torch.randn(8, 3)
    before = functions(text)
    model = net(before)
    as_it_was = state(model)
    before["use"](model, x)
    assert state(model) != as_it_was

    after = functions(rewritten(text))
    model = net(after)
    as_it_was = state(model)
    after["use"](model, x)
    assert state(model) == as_it_was


def test_the_mode_is_restored_after_an_exception() -> None:
    text = HEAD + ("def use(model, x):\n    return jacrev(lambda row: model(row) / undefined)(x)\n")
    after = functions(rewritten(text))
    model = net(after)
    as_it_was = state(model)
    with pytest.raises(NameError):
        after["use"](model, torch.randn(8, 3))
    assert state(model) == as_it_was


def test_a_model_that_is_in_eval_mode_stays_so() -> None:
    after = functions(rewritten(HEAD + USES["vmap"]))
    model = net(after).eval()
    as_it_was = state(model)
    after["use"](model, torch.randn(2, 8, 3))
    assert state(model) == as_it_was


def test_loops_methods_and_module_level() -> None:
    text = HEAD + (
        "class Study:\n"
        "    def __init__(self, net):\n"
        "        self.net = net\n"
        "\n"
        "    def run(self, x):\n"
        "        found = []\n"
        "        for part in x:\n"
        "            if part is not None:\n"
        "                found.append(\n"
        "                    vmap(self.net)(part))  # one\n"
        "        return found\n"
        "\n"
        "\n"
        "net = Net()\n"
        "at_the_top = vmap(net)(torch.randn(2, 8, 3))\n"
        "found = Study(net).run(torch.randn(2, 2, 8, 3))\n"
    )
    with pytest.raises(RuntimeError, match="running_mean"):
        functions(text)
    after = functions(rewritten(text))
    assert len(after["found"]) == 2
    assert after["net"].training
    assert after["net"].body[1].num_batches_tracked == 0


def test_two_models_in_one_statement() -> None:
    text = HEAD + (
        "def use(teacher: nn.Module, student: nn.Module, x):\n"
        "    gap = vmap(teacher)(x) - vmap(student)(x)\n"
        "    return gap\n"
    )
    after = functions(rewritten(text))
    one, two = net(after), net(after).eval()
    states = state(one), state(two)
    assert after["use"](one, two, torch.randn(2, 8, 3)).abs().max() == 0
    assert (state(one), state(two)) == states


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("indent", ["  ", "    ", "\t"])
def test_indentation_and_strings_stay(newline: str, indent: str) -> None:
    body = f'"""a{newline}{indent}{indent}b"""'
    lines = ["import torch", "from torch.func import vmap", "def use(model, x):"]
    lines += [f"{indent}return (vmap(model)(", f"{indent * 2}x), {body})"]
    text = newline.join(lines) + newline
    result = rewrite(text.encode(), "script.py", Settings("eval-mode"))
    assert result.after is not None
    after = result.after.decode()
    assert f"{indent}with evaluating(model):{newline}{indent * 2}return (vmap(model)(" in after
    assert body in after
    assert newline == "\n" or "\n" not in after.replace("\r\n", "")


def test_other_strategies_do_not_know_it() -> None:
    text = (HEAD + USES["vmap"]).encode()
    for strategy in ("no-running-stats", "group-norm", "runtime-patch"):
        codes = {f.code for f in rewrite(text, "script.py", Settings(strategy)).findings}
        assert "BN113" not in codes
