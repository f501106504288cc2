"""``bncodemod verify``: the command that builds what makes norms and runs it under vmap."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from bncodemod.cli.shared import HELP, ended, stopped_by_signals, typed, walk_options
from bncodemod.cli.verifier_options import typed_for_verifier, verifier_options
from bncodemod.settings import load_configuration

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bncodemod.model import FileResult
    from bncodemod.settings import Configuration
    from bncodemod.verify.model import Verification
    from bncodemod.verify.options import Options

_WALK = ("exclude", "extend_exclude", "force_exclude", "project")
_EPILOG = """\b
Examples:
  bncodemod verify src/                   every place below src/ that makes norms
  bncodemod verify --against HEAD src/    what was rewritten since the last commit
  bncodemod --verify src/                 rewrite, then verify what was rewritten
  bncodemod verify --require-coverage 90 src/
  bncodemod explain running-stats         what a verdict, check or cause means

\b
Exit codes:
  0  no site fails, and enough of them are verified
  1  a site fails, or fewer are verified than --require-coverage says
  2  wrong usage or configuration, no torch, no such device, or a file that could not be read or
     parsed (the others are verified all the same)
  130  interrupted (143 by SIGTERM, 129 by SIGHUP)

Defaults come from [tool.bncodemod.verify] in the nearest pyproject.toml; the command line wins.
"""


@click.command("verify", epilog=_EPILOG, context_settings=HELP)
@click.argument("paths", nargs=-1, metavar="PATH...", type=click.Path(exists=True))
@click.option(
    "--against",
    metavar="REV",
    help="Only what differs from a git revision, and compare with the sources as they were.",
)
@verifier_options()
@walk_options
@click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to report.",
)
@click.option("-q", "--quiet", is_flag=True, help="Only what failed or was not reached.")
@click.option("-v", "--verbose", is_flag=True, help="Also what was verified, and how it was built.")
def verify(paths: tuple[str, ...], **options: Any) -> None:
    """Build what makes norms below PATH... and show that it runs under torch.func.vmap.

    This runs your code: modules are imported in worker processes, models are built from
    them, and vmap's answers are compared with a loop's. A site is a place in the source that
    makes norms, rewritten or not: a batch norm that keeps running statistics fails.
    """
    if not paths:
        raise click.UsageError("nothing to do: name files or folders")
    if options["quiet"] and options["verbose"]:
        raise click.UsageError("--quiet and --verbose exclude each other")
    sys.exit(ended(lambda: _run(paths, options), interrupted="nothing was changed"))


def _run(paths: tuple[str, ...], options: dict[str, Any]) -> int:
    from bncodemod.verify.options import read_options

    configuration = load_configuration(paths, typed(options, _WALK))
    against = typed(options, ("against",))
    wanted = read_options(configuration, {**typed_for_verifier(options), **against})
    found = run(paths, configuration, wanted, options["quiet"])
    if options["format_"] == "json":
        from bncodemod.report.verification_json import write_json

        write_json(sys.stdout, found, traces=options["trace"])
    else:
        report_text(found, wanted, options)
    return exit_code(found, wanted)


def run(
    paths: tuple[str, ...],
    configuration: Configuration,
    wanted: Options,
    quiet: bool,
    rewritten: Iterable[FileResult] | None = None,
) -> Verification:
    """Verify, with a bar and notices on standard error."""
    from bncodemod.report.progress import ProgressBar
    from bncodemod.verify.errors import require_torch
    from bncodemod.verify.run import verify

    require_torch()
    progress = ProgressBar(sys.stderr, shown=not quiet, what="modules")

    def notice(text: str) -> None:
        progress.pause()
        click.echo(f"Note: {text}", err=True)

    try:
        with stopped_by_signals():
            return verify(
                paths,
                configuration,
                wanted,
                rewritten=rewritten,
                on_progress=progress,
                on_notice=notice,
            )
    finally:
        progress.pause()


def report_text(found: Verification, wanted: Options, options: dict[str, Any]) -> None:
    """The report for a person, on standard output."""
    from bncodemod.report.verification_text import shown_percent, write_text

    write_text(
        sys.stdout,
        found,
        quiet=options["quiet"],
        verbose=options["verbose"],
        traces=options["trace"],
    )
    if wanted.require_coverage and found.coverage is None:
        click.echo("nothing was to be verified: the coverage that is required says nothing here")
    elif found.coverage is not None and found.coverage < wanted.require_coverage:
        covered = shown_percent(found.coverage)
        click.echo(f"coverage {covered} % is below the {wanted.require_coverage:g} % required")


def exit_code(found: Verification, wanted: Options, *, exit_zero: bool = False) -> int:
    """2 if a file could not be read; 1 if a site failed or too few are verified; else 0.

    With ``exit_zero``, 0 where it would be 1.
    """
    from bncodemod.verify.model import Verdict

    if found.unread:
        return 2
    failed = any(result.verdict is Verdict.FAILED for result in found.sites)
    too_few = found.coverage is not None and found.coverage < wanted.require_coverage
    return int((failed or too_few) and not exit_zero)
