"""What the commands have in common: exit codes, exclusions, the way a run ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from bncodemod.settings import ConfigurationError

HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

Command = TypeVar("Command", bound=Callable[..., Any])


def walk_options(command: Command) -> Command:
    """The options that say which files below the paths are taken."""
    for option in reversed(_WALK):
        command = option(command)
    return command


_WALK = (
    click.option(
        "--exclude",
        multiple=True,
        metavar="PATTERN",
        help="Leave out what matches, read as in .gitignore; replaces the default list (.git,"
        " .venv, node_modules, build, …). May be repeated.",
    ),
    click.option(
        "--extend-exclude",
        multiple=True,
        metavar="PATTERN",
        help="As --exclude, but added to the list. May be repeated.",
    ),
    click.option(
        "--force-exclude/--no-force-exclude",
        default=None,
        help="Exclude files even when they are named as PATH, as pre-commit does.",
    ),
    click.option(
        "--project/--no-project",
        default=None,
        help="Read what bears on a file in the rest of its project, or decide from each file alone."
        "  [default: --project]",
    ),
)


def typed(options: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Those of the options that were typed: not None and, if they may be repeated, not empty."""
    return {name: options[name] for name in names if options[name] not in (None, ())}


def ended(run: Callable[[], int], *, interrupted: str) -> int:
    """The exit code of a run, whatever ends it; an error is said in one line."""
    try:
        return run()
    except ConfigurationError as error:
        click.echo(f"Error: {error}", err=True)
        return 2
    except KeyboardInterrupt as error:
        click.echo(f"Interrupted: {interrupted}", err=True)
        return 128 + (error.number if isinstance(error, Stopped) else signal.SIGINT)
    except (click.ClickException, BrokenPipeError):
        raise
    except Exception as error:
        return _failed(error)


class Stopped(KeyboardInterrupt):
    """Another signal than that of Ctrl-C is to end the run."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Have SIGTERM and SIGHUP end what is done meanwhile as Ctrl-C does, by an exception.

    A signal that is ignored, as under nohup, stays so.
    """

    def stop(number: int, _: object) -> None:
        for each in saved:
            signal.signal(each, signal.SIG_IGN)  # what is to be cleared up is, to the end
        raise Stopped(number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    saved = {each: signal.getsignal(each) for each in numbers}
    saved = {each: handler for each, handler in saved.items() if handler is signal.SIG_DFL}
    if threading.current_thread() is not threading.main_thread():
        saved = {}  # only there can handlers be set
    for each in saved:
        signal.signal(each, stop)
    try:
        yield
    finally:
        for each, handler in saved.items():
            signal.signal(each, handler)


def _failed(error: Exception) -> int:
    from bncodemod.checkpoint.errors import CheckpointError
    from bncodemod.verify.errors import CannotVerify

    if isinstance(error, (CannotVerify, CheckpointError)):
        click.echo(f"Error: {error.message}", err=True)
        if error.remedy:
            click.echo(f"    remedy: {error.remedy}", err=True)
    else:
        # Python's own exit code would be 1, which says that work is left.
        from traceback import print_exception

        print_exception(error)
        click.echo("Error: a bug in bncodemod; please report it with the lines above", err=True)
    return 2


def known_codes() -> Iterable[str]:
    """The codes of all rules."""
    from bncodemod.rules import pages

    return pages()
