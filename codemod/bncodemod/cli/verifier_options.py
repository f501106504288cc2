"""How the verifier is to run: the options of ``verify``, and of a rewrite with ``--verify``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bncodemod.cli.shared import typed

if TYPE_CHECKING:
    from bncodemod.verify.model import Check

Command = TypeVar("Command", bound=Callable[..., Any])

_SETTINGS = ("device", "timeout", "memory", "checks", "seed", "require_coverage", "examples")
_FLAGS = ("time_", "trace")


def typed_for_verifier(options: dict[str, Any]) -> dict[str, Any]:
    """What was typed, as settings of a run."""
    return {**typed(options, _SETTINGS), "time": options["time_"]}


def without_verify(options: dict[str, Any]) -> list[str]:
    """The options that were typed, as they are written."""
    names = [*typed(options, _SETTINGS), *(name for name in _FLAGS if options[name])]
    return [f"--{name.rstrip('_').replace('_', '-')}" for name in names]


def _checks(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> frozenset[Check] | None:
    """The names of checks, separated by commas, of an option that may be repeated."""
    from bncodemod.verify.options import checks_of

    try:
        return checks_of([n.strip() for value in values for n in value.split(",")]) or None
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def _device(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    from bncodemod.verify.options import is_device

    if value is not None and not is_device(value):
        raise click.BadParameter("must be auto, cpu, cuda or cuda:N", ctx, param)
    return value


def verifier_options(only_with: str = "") -> Callable[[Command], Command]:
    """Add the options; the help of each says that it counts ``only_with`` another one."""

    def add(command: Command) -> Command:
        for name, said in reversed(_OPTIONS.items()):
            command = click.option(*name, **{**said, "help": only_with + said["help"]})(command)
        return command

    return add


_OPTIONS: dict[tuple[str, ...], dict[str, Any]] = {
    ("--device",): {
        "callback": _device,
        "metavar": "DEVICE",
        "help": "auto (every CUDA device, else the CPU), cuda, cuda:N or cpu.  [default: auto]",
    },
    ("--checks",): {
        "callback": _checks,
        "multiple": True,
        "metavar": "NAMES",
        "help": "Only these checks, as vmap,grad; `bncodemod explain` lists them.  [default: all]",
    },
    ("--examples",): {
        "type": click.Path(exists=True, dir_okay=False),
        "help": "A Python file that says how to build and feed what cannot be guessed.",
    },
    ("--timeout",): {
        "type": click.FloatRange(min=0, min_open=True),
        "metavar": "SECONDS",
        "help": "For one step: an import, a build, a check.  [default: 60]",
    },
    ("--memory",): {
        "type": click.FloatRange(min=0, min_open=True),
        "metavar": "GIB",
        "help": "For one worker; watched on Linux.  [default: three quarters of the machine's]",
    },
    ("--seed",): {
        "type": int,
        "metavar": "N",
        "help": "Of all random numbers.  [default: 0]",
    },
    ("--time", "time_"): {"is_flag": True, "help": "Also measure vmap against the loop."},
    ("--require-coverage",): {
        "type": click.FloatRange(0, 100),
        "metavar": "PERCENT",
        "help": "Exit 1 if fewer of the sites are verified.",
    },
    ("--trace",): {"is_flag": True, "help": "Also show the raw tracebacks."},
}
