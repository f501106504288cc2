"""Which norms keep their statistics, as the keys of a state dict from after the rewrite say."""

from __future__ import annotations

import pytest
from test_norm_keys import NORM, under

from bncodemod.checkpoint.counterpart import narrowed
from bncodemod.checkpoint.errors import CheckpointError
from bncodemod.checkpoint.norm_keys import Plan, Selection, Shape, plan

Keys = dict[str, Shape]

REWRITTEN: Keys = {"weight": (8,), "bias": (8,)}
OLD: Keys = {"stem.weight": (8, 3, 3, 3), **under("own.", NORM), **under("library.", NORM)}
NEW: Keys = {"stem.weight": (8, 3, 3, 3), **under("own.", REWRITTEN), **under("library.", NORM)}


def found(old: Keys, *likes: Keys) -> Plan:
    return narrowed(plan(old, Selection()), old, likes)


def test_norms_that_the_other_has_keep_their_statistics() -> None:
    narrow = found(OLD, NEW)
    assert [norm.name for norm in narrow.norms] == ["own"]
    assert [kept.name for kept in narrow.kept] == ["library"]


@pytest.mark.parametrize("old_prefix", ["", "module.", "model.module."])
@pytest.mark.parametrize("new_prefix", ["", "module.", "net."])
def test_one_of_the_two_may_be_wrapped(old_prefix: str, new_prefix: str) -> None:
    old = {"n_averaged": (), **under(old_prefix, OLD)} if old_prefix else OLD
    narrow = found(old, {"other": (2,)}, under(new_prefix, NEW))
    assert [norm.name for norm in narrow.norms] == [f"{old_prefix}own"]


def test_no_norm_lies_beside_what_is_compared() -> None:
    old = {**under("student.", OLD), **under("teacher.", OLD)}
    with pytest.raises(CheckpointError, match="student"):
        found(old, NEW)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"head.weight": (2, 8)}, "head.weight is in --like alone"),
        ({"stem.weight": (4, 3, 3, 3)}, r"stem.weight has the shape \(8, 3, 3, 3\)"),
        ({"own.running_mean": (8,)}, "own.running_var is not in --like"),
    ],
)
def test_other_differences_are_refused(change: Keys, difference: str) -> None:
    with pytest.raises(CheckpointError, match=difference):
        found(OLD, {**NEW, **change})


def test_what_only_looks_like_statistics_is_no_reason() -> None:
    with pytest.raises(CheckpointError, match=r"tracker.running_mean is not in --like"):
        found({**OLD, "tracker.running_mean": (8,)}, NEW)


def test_the_difference_from_the_closest_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"differs: head.weight is in --like alone$"):
        found(OLD, {"exp_avg": (8,)}, {**NEW, "head.weight": (2, 8)})


def test_a_file_without_tensors_is_refused() -> None:
    with pytest.raises(CheckpointError, match="no state dict"):
        found(OLD)
