"""Which keys are a norm's running statistics, by names and shapes."""

from __future__ import annotations

import pytest

from bncodemod.checkpoint.norm_keys import Plan, Selection, Shape, plan

NORM: dict[str, Shape] = {
    "weight": (8,),
    "bias": (8,),
    "running_mean": (8,),
    "running_var": (8,),
    "num_batches_tracked": (),
}


def under(prefix: str, keys: dict[str, Shape]) -> dict[str, Shape]:
    return {prefix + key: shape for key, shape in keys.items()}


def without(*names: str) -> dict[str, Shape]:
    return {key: shape for key, shape in NORM.items() if key not in names}


def planned(keys: dict[str, Shape], **selection: object) -> Plan:
    return plan(keys, Selection(**selection))  # type: ignore[arg-type]


@pytest.mark.parametrize("prefix", ["", "bn.", "module.layer1.0.bn1."])
def test_a_norm_loses_its_three_buffers(prefix: str) -> None:
    found = planned({**under(prefix, NORM), "conv.weight": (8, 3, 3, 3)})
    assert found.dropped == {
        f"{prefix}{name}" for name in ("running_mean", "running_var", "num_batches_tracked")
    }
    assert [(norm.name, norm.affine) for norm in found.norms] == [(prefix.rstrip("."), True)]
    assert found.kept == ()


def test_a_norm_without_affine_parameters_counts() -> None:
    found = planned(under("bn.", without("weight", "bias")))
    assert len(found.dropped) == 3
    assert not found.norms[0].affine


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"running_mean": ()}, "both"),
        ({"running_mean": (8,), "num_batches_tracked": ()}, "both"),
        ({"num_batches_tracked": ()}, "both"),
        ({"running_mean": (8,), "running_var": (8,)}, "of the module's own"),
        ({**NORM, "running_mean": (1, 8), "running_var": (1, 8)}, "vectors"),
        ({**NORM, "running_var": (4,)}, "vectors"),
        ({**NORM, "weight": (16, 8)}, "as long as"),
        ({**NORM, "bias": (4,)}, "as long as"),
        ({**NORM, "num_batches_tracked": (8,)}, "one number"),
        (without("num_batches_tracked"), "frozen"),
    ],
)
def test_a_buffer_that_only_has_the_name_stays(keys: dict[str, Shape], reason: str) -> None:
    found = planned({**under("tracker.", keys), **under("bn.", NORM)})
    assert [kept.name for kept in found.kept] == ["tracker"]
    assert reason in found.kept[0].reason
    assert all(key.startswith("bn.") for key in found.dropped)


def test_a_norm_of_the_old_format_has_no_counter() -> None:
    keys = under("bn.", without("num_batches_tracked"))
    assert planned(keys).dropped == frozenset()
    assert planned(keys, old_format=True).dropped == {"bn.running_mean", "bn.running_var"}


def test_what_is_asked_for_stays() -> None:
    keys = {**under("encoder.bn.", NORM), **under("head.bn.", NORM)}
    found = planned(keys, keep=("encoder.*",))
    assert [norm.name for norm in found.norms] == ["head.bn"]
    assert [kept.name for kept in found.kept] == ["encoder.bn"]


def test_names_that_only_end_alike_are_others() -> None:
    assert planned({"old_running_mean": (8,), "x.my_running_var": (8,)}) == Plan((), ())
