"""Which norms keep their statistics, as a state dict says that the rewritten code has saved.

A rewrite may leave some norms as they are and take the statistics of others. The keys of a state
dict from after it tell them apart; what else differs is no matter of batch norm, and is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bncodemod.checkpoint.errors import CheckpointError
from bncodemod.checkpoint.norm_keys import BUFFERS, Kept, Plan, Shape

_MOST = 3  # keys that are named
_REMEDY = (
    "save the state dict of the same model with the rewritten code, and name that file with --like"
)

Shapes = Mapping[str, Shape]


def narrowed(planned: Plan, old: Shapes, likes: Sequence[Shapes]) -> Plan:
    """The plan for ``old`` that leaves it the keys of one of ``likes``.

    Raises CheckpointError where more or less than norms' statistics would have to go.
    """
    for new in likes:
        for renamed in _renamed(planned, old, new):
            if not _unexplained(planned, old, renamed):
                return _as_in(planned, renamed)
    differences = [_unexplained(planned, old, new) for new in likes]
    closest = min(differences, key=len, default=["the other file holds no state dict"])
    more = f", and {len(closest) - _MOST} more" if len(closest) > _MOST else ""
    raise CheckpointError(
        f"more than running statistics of norms differs: {', '.join(closest[:_MOST])}{more}",
        remedy=_REMEDY,
    )


def _as_in(planned: Plan, new: Shapes) -> Plan:
    going = tuple(norm for norm in planned.norms if new.keys().isdisjoint(norm.keys))
    staying = (Kept(norm.name, "--like has it") for norm in planned.norms if norm not in going)
    return Plan(going, (*planned.kept, *staying))


def _renamed(planned: Plan, old: Shapes, new: Shapes) -> Iterator[Shapes]:
    """``new``, with its keys as ``old`` may have them: one of the two may be wrapped.

    ``old`` then has keys beside those of the model, such as an average's ``n_averaged``, but no
    norm.
    """
    yield new
    name = planned.norms[0].name if planned.norms else ""
    for outer in ("", *(name[: at + 1] for at, letter in enumerate(name) if letter == ".")):
        below = [key for key in old if key.startswith(outer)]
        anchor = next((key for key in below if key not in planned.dropped), None)
        if anchor is None or not all(norm.name.startswith(outer) for norm in planned.norms):
            continue
        rest = anchor[len(outer) :]
        beside = {key: shape for key, shape in old.items() if not key.startswith(outer)}
        for key in new:
            inner = key[: len(key) - len(rest)]
            if key == inner + rest and (not inner or inner.endswith(".")):
                part = {k[len(inner) :]: new[k] for k in new if k.startswith(inner)}
                yield {**beside, **{outer + k: shape for k, shape in part.items()}}


def _unexplained(planned: Plan, old: Shapes, new: Shapes) -> list[str]:
    """What keeps ``old`` from fitting ``new`` once norms have lost their statistics, in words."""
    partly = {
        key
        for norm in planned.norms
        if not new.keys().isdisjoint(norm.keys)
        for key in norm.keys
        if key not in new
    }
    found = [
        f"{key} is not in --like"
        for key in old
        if key not in new and (key in partly or key not in planned.dropped)
    ]
    found += [f"{key} is in --like alone" for key in new if key not in old]
    found += [
        f"{key} has the shape {old[key]}, and {new[key]} in --like"
        for key in old
        if key in new and old[key] != new[key] and not _is_counter(key)
    ]
    return found


def _is_counter(key: str) -> bool:
    return key.rpartition(".")[2] == BUFFERS[2]
