"""What torchvision's builders, models and blocks do with batch norm, and with ``norm_layer=``.

The data in ``torchvision.json`` is measured, never written by hand:
``python tests/catalog/regenerate_torchvision.py`` builds every callable of the installed
torchvision and writes it anew; ``tests/catalog/test_torchvision.py`` compares the two.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Builder:
    """One callable of torchvision that builds batch norm with running stats.

    ``name`` is where it is defined; ``lookup`` finds it by any other path as well. ``kind`` is
    ``builder`` (a function), ``class`` (a model exported by its package) or ``block`` (any other
    class).

    ``norm_layer`` says what ``norm_layer=partial(BatchNorm, track_running_stats=False)`` does:

    - ``works``: no norm with running stats is left;
    - ``swallowed``: accepted without an error, and without any effect;
    - ``twice``: TypeError, the builder passes a norm_layer of its own;
    - ``unknown``: TypeError, unexpected keyword argument;
    - ``group-norm-only``: the constructor runs the model and batch norm without running stats
      raises there; a GroupNorm factory leaves none and works.

    ``parameter`` is the name of the parameter where there is one, and ``position`` its index among
    positional arguments (None: keyword only). ``none_builds_norm``: an explicit None there still
    builds batch norm, as if it had been left out.

    ``norm`` is the class it builds when ``norm_layer`` is not given. ``eps`` and ``momentum`` are
    what it gives that class where this differs from the class's own default: a norm_layer passed
    from outside has to repeat them. ``mixed``: it builds norms of different settings, and then
    ``eps`` and ``momentum`` are None.

    ``weights`` are the parameters that ask for pretrained weights, the legacy ones included, and
    ``weights_positions`` where the first ones are taken as positional arguments.
    ``pretrained_by_default``: leaving them all out already asks for some (a backbone's).
    ``frozen_when_pretrained``: with pretrained weights it builds FrozenBatchNorm2d instead, which
    has nothing to fix. ``needs`` names a parameter that must be true for it to build batch norm.
    ``registered`` is its name for ``torchvision.models.get_model``.
    """

    name: str
    kind: str
    norm_layer: str
    norm: str
    eps: float | None = None
    momentum: float | None = None
    mixed: bool = False
    parameter: str | None = None
    position: int | None = None
    none_builds_norm: bool = False
    weights: tuple[str, ...] = ()
    weights_positions: tuple[int, ...] = ()
    pretrained_by_default: bool = False
    frozen_when_pretrained: bool = False
    needs: str | None = None
    registered: str | None = None


def lookup(qualified: str) -> Builder | None:
    """The builder of that qualified name, by its canonical name or any alias."""
    if not qualified.startswith("torchvision."):
        return None
    return _by_name().get(qualified)


def lookup_registered(name: str) -> Builder | None:
    """The builder that ``torchvision.models.get_model(name)`` calls."""
    return _by_registered_name().get(name)


def version() -> str:
    """The torchvision that the data was measured on."""
    return str(_data()["version"])


def builders() -> tuple[Builder, ...]:
    """All of them, in the order of their names."""
    return tuple(builder for builder, _ in _entries())


def names() -> tuple[str, ...]:
    """Every qualified name that ``lookup`` knows."""
    return tuple(_by_name())


@functools.cache
def _data() -> dict[str, Any]:
    import json
    from importlib import resources

    text = (resources.files(__package__) / "torchvision.json").read_text(encoding="utf-8")
    data: dict[str, Any] = json.loads(text)
    return data


@functools.cache
def _entries() -> tuple[tuple[Builder, tuple[str, ...]], ...]:
    return tuple(_entry(fields) for fields in _data()["builders"])


def _entry(fields: dict[str, Any]) -> tuple[Builder, tuple[str, ...]]:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in fields.items()
        if name != "aliases"
    }
    return Builder(**values), tuple(fields.get("aliases", ()))


@functools.cache
def _by_name() -> dict[str, Builder]:
    return {name: builder for builder, aliases in _entries() for name in (builder.name, *aliases)}


@functools.cache
def _by_registered_name() -> dict[str, Builder]:
    return {builder.registered: builder for builder, _ in _entries() if builder.registered}
