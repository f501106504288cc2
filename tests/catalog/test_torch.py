"""The signatures of the catalog are those of the installed torch."""

from __future__ import annotations

import inspect

import pytest

torch = pytest.importorskip("torch")

from bncodemod.catalog.torch import FLAG, FUNCTIONS, NORM_CLASSES, norm_class  # noqa: E402


def torch_class(name: str) -> type:
    return getattr(torch.nn, name, None) or getattr(torch.nn.modules.batchnorm, name)


@pytest.mark.parametrize("name", sorted(NORM_CLASSES))
def test_positional_parameters_and_the_default_of_the_flag(name: str) -> None:
    parameters = inspect.signature(torch_class(name)).parameters
    positional = tuple(p.name for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD)
    assert positional == NORM_CLASSES[name].parameters
    assert parameters[FLAG].default is NORM_CLASSES[name].tracks


def test_no_class_of_torch_is_missing() -> None:
    base = torch.nn.modules.batchnorm._NormBase
    known = {
        n
        for n in dir(torch.nn)
        if inspect.isclass(c := getattr(torch.nn, n)) and issubclass(c, base)
    }
    assert known <= set(NORM_CLASSES)


@pytest.mark.parametrize("qualified", sorted(q for q in FUNCTIONS if "functional" in q))
def test_functional_parameters(qualified: str) -> None:
    function = FUNCTIONS[qualified]
    wanted = getattr(torch.nn.functional, qualified.rpartition(".")[2])
    parameters = list(inspect.signature(wanted).parameters.values())
    for position, name in (function.running_mean, function.running_var, function.flag):
        assert parameters[position].name == name
    assert parameters[function.flag[0]].default is function.flag_default


@pytest.mark.parametrize(
    ("qualified", "known"),
    [
        ("torch.nn.BatchNorm2d", True),
        ("torch.nn.modules.batchnorm.BatchNorm2d", True),
        ("torch.nn.modules.BatchNorm2d", True),
        ("torch.nn.modules.batchnorm._BatchNorm", True),
        ("torch.nn._BatchNorm", False),
        ("paddle.nn.BatchNorm2d", False),
        ("BatchNorm2d", False),
    ],
)
def test_where_a_class_may_be_taken_from(qualified: str, known: bool) -> None:
    assert (norm_class(qualified) is not None) is known
