"""``bncodemod migrate-checkpoint``: parse, call, print."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from bncodemod.checkpoint.norm_keys import Selection
from bncodemod.cli.shared import HELP, ended
from bncodemod.report.text import plural

if TYPE_CHECKING:
    from bncodemod.checkpoint.migrate import Migration, StateDict

NOTHING_TO_DROP = 1

_GROUP_NORM = "group-norm"
# What takes the statistics of all norms in the source, of some, and of none.
_ALL = ("no-running-stats", _GROUP_NORM)
_SOME = ("runtime-patch", "auto")
_NONE = ("eval-mode",)
# What makes GroupNorms, and what has to be so for that: no checkpoint shows which norms are some.
_TO_GROUP_NORM = {_GROUP_NORM: "", "runtime-patch": "after --patch group-norm, "}
_EPILOG = """\b
Examples:
  bncodemod migrate-checkpoint best.pth best-new.pth --strategy no-running-stats
  bncodemod migrate-checkpoint in.safetensors out.safetensors --strategy group-norm
  bncodemod migrate-checkpoint a.pth b.pth --strategy no-running-stats --keep 'encoder.*'
  bncodemod migrate-checkpoint a.pth b.pth --strategy auto --like saved-by-the-new-code.pth

\b
Exit codes:
  0  OUT is written
  1  IN holds no running statistics that have to go; nothing is written
  2  wrong usage, or a file could not be read or written
  130  interrupted
"""


@click.command(
    "migrate-checkpoint",
    epilog=_EPILOG,
    context_settings=HELP,
)
@click.argument("source", metavar="IN", type=click.Path())
@click.argument("target", metavar="OUT", type=click.Path())
@click.option(
    "--strategy",
    type=click.Choice((*_ALL, *_SOME, *_NONE)),
    required=True,
    help="What the code was rewritten with. After --patch group-norm: group-norm.",
)
@click.option(
    "--like",
    type=click.Path(),
    metavar="NEW",
    help="A checkpoint of the same model, trained or not, that the rewritten code has saved: OUT"
    " gets the keys that NEW has, so that norms which the rewrite left keep their statistics."
    " What else differs is refused. Needed after runtime-patch, auto and --third-party patch.",
)
@click.option(
    "--keep",
    multiple=True,
    metavar="PATTERN",
    help="Keep the statistics of the modules that match, as 'encoder.*': norms that the rewrite"
    " left as they were. May be repeated.",
)
@click.option(
    "--old-format",
    is_flag=True,
    help="IN is older than torch 0.4.1: norms without num_batches_tracked lose their statistics"
    " too. Otherwise they are taken for frozen ones, which keep them.",
)
@click.option("--force", is_flag=True, help="Replace OUT if it exists. IN is never replaced.")
@click.option("-q", "--quiet", is_flag=True, help="Only warnings and errors.")
def migrate_checkpoint(
    source: str,
    target: str,
    strategy: str,
    like: str | None,
    keep: tuple[str, ...],
    old_format: bool,
    force: bool,
    quiet: bool,
) -> None:
    """Write the checkpoint IN to OUT, to be loaded strictly by the code after the rewrite.

    running_mean, running_var and num_batches_tracked of norms are dropped, wherever a state dict
    lies in the file; all else is kept as it is. IN is a safetensors file or what torch.save wrote;
    the latter is read with weights_only=True and needs torch.

    After eval-mode, and after --patch keep-statistics where all norms are patched, there is nothing
    to migrate: the state dict is what it was.
    """
    if strategy in _NONE:
        raise click.UsageError(f"{strategy} changes no norm: {source} loads as it is")
    if strategy in _SOME and like is None and not keep:
        raise click.UsageError(
            f"which norms {strategy} has left with their statistics is not to be seen in {source}:"
            " save the state dict of the same model with the rewritten code, and name that file"
            " with --like (or say with --keep which modules keep them)"
        )
    selection = Selection(keep, old_format)
    sys.exit(
        ended(
            lambda: _migrate(source, target, strategy, selection, like, force=force, quiet=quiet),
            interrupted="OUT is whole, or not there",
        )
    )


def _migrate(
    source: str,
    target: str,
    strategy: str,
    selection: Selection,
    like: str | None,
    *,
    force: bool,
    quiet: bool,
) -> int:
    from bncodemod.checkpoint.migrate import migrate

    migration = migrate(source, target, selection, like=like, force=force)
    if not quiet:
        for state in migration.state_dicts:
            _print_state_dict(state)
    if not migration.written:
        click.echo(f"nothing to drop: {_why_nothing(source, like, migration)}", err=True)
        return NOTHING_TO_DROP
    if strategy in _TO_GROUP_NORM:
        _warn_of_affine(migration, _TO_GROUP_NORM[strategy])
    if not quiet:
        click.echo(f"wrote {target}")
    return 0


def _why_nothing(source: str, like: str | None, migration: Migration) -> str:
    if like is not None and migration.state_dicts:
        return f"{like} has the statistics of every norm; {source} loads as it is"
    return f"{source} has no running statistics of norms"


def _print_state_dict(state: StateDict) -> None:
    where = f" in {state.place}" if state.place else ""
    norms = state.plan.norms
    if norms:
        click.echo(f"dropped the running statistics of {plural(len(norms), 'norm')}{where}:")
    for norm in norms:
        names = ", ".join(key.rpartition(".")[2] for key in norm.keys)
        click.echo(f"  {norm.name or '(the module itself)'}: {names}")
    for kept in state.plan.kept:
        click.echo(f"kept{where}: {kept.name or '(the module itself)'}: {kept.reason}")


def _warn_of_affine(migration: Migration, when: str) -> None:
    affine = sum(norm.affine for state in migration.state_dicts for norm in state.plan.norms)
    if affine:
        click.echo(
            f"Warning: {when}weight and bias of {plural(affine, 'norm')} are kept, but now scale"
            " and shift what GroupNorm normalises: train or fine-tune before you use the model",
            err=True,
        )
