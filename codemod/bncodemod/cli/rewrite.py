"""``bncodemod``: the command that rewrites."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from bncodemod import __version__
from bncodemod.cli.shared import HELP, ended, known_codes, typed, walk_options
from bncodemod.cli.verifier_options import (
    typed_for_verifier,
    verifier_options,
    without_verify,
)
from bncodemod.settings import (
    GROUP_FALLBACKS,
    PATCHES,
    STRATEGIES,
    THIRD_PARTY,
    Configuration,
    load_configuration,
    nearest,
)

if TYPE_CHECKING:
    from bncodemod.model import FileResult
    from bncodemod.report.json import JsonReport
    from bncodemod.report.text import TextReport
    from bncodemod.report.totals import Totals

_EPILOG = """\b
Examples:
  bncodemod --diff src/            show what would change, change nothing
  bncodemod src/                   rewrite every file below src/ in place
  bncodemod --check src/           exit 1 if a batch norm is left; for CI
  bncodemod - < model.py           rewrite standard input to standard output
  bncodemod --strategy group-norm --groups 16 models/
  bncodemod --third-party patch --patch keep-statistics finetune.py
  bncodemod --strategy auto --diff .
  bncodemod --select BN1 --ignore BN105 src/
  bncodemod verify src/            build what makes norms and run it under vmap (needs torch)
  bncodemod --verify src/          rewrite, then verify what was rewritten
  bncodemod explain                list the rules
  bncodemod explain BN101          what a rule means and what to do by hand
  bncodemod migrate-checkpoint --help     take a checkpoint across the rewrite

\b
Exit codes:
  0  nothing left to do, or all of it done
  1  something would change (--check, --diff), a finding stays open, or a site fails (--verify)
  2  wrong usage or configuration, or a file could not be handled
  130  interrupted; every file is whole, old or new

Defaults come from [tool.bncodemod] in the nearest pyproject.toml; the command line wins.
`explain`, `verify` and `migrate-checkpoint` as the first word are commands; a path of that name is
./explain.
"""


class _Program(click.Command):
    """A command whose first word may name another command instead of a path."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        command = _command(args[0]) if args else None
        if command is None:
            return super().make_context(info_name, args, parent, **extra)
        return command.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)


def _prefixes(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    """Rule codes or their prefixes, separated by commas, of an option that may be repeated."""
    prefixes = [part.strip() for value in values for part in value.split(",")]
    for prefix in prefixes:
        known = known_codes()
        if not prefix or not any(code.startswith(prefix) for code in known):
            raise click.BadParameter(
                f"no rule code starts with {prefix!r}{nearest(prefix, known)}", ctx, param
            )
    return tuple(prefixes)


@click.command(
    cls=_Program,
    epilog=_EPILOG,
    context_settings=HELP,
)
@click.argument("paths", nargs=-1, metavar="PATH...", type=click.Path())
@click.option("--check", is_flag=True, help="Change nothing; the exit code says if work is left.")
@click.option("--diff", is_flag=True, help="Change nothing; print a unified diff.")
@click.option(
    "--strategy",
    type=click.Choice(STRATEGIES),
    help="no-running-stats keeps each norm's train mode bit for bit; group-norm replaces it by"
    " GroupNorm; runtime-patch leaves the source's own norms and patches the models that other"
    " libraries build; eval-mode puts models into eval mode where they are called under vmap or"
    " another transform and not trained; auto takes the least invasive way at each place, and says"
    " why.  [default: no-running-stats]",
)
@click.option(
    "--third-party",
    type=click.Choice(THIRD_PARTY),
    help="What to do about models that other libraries build and no argument helps: report them, or"
    " patch them where they are built.  [default: report]",
)
@click.option(
    "--patch",
    type=click.Choice(PATCHES),
    help="How to patch: replace calls replace_all_batch_norm_modules_ of torch.func;"
    " keep-statistics stops the updates and keeps loaded statistics for eval mode; group-norm puts"
    " GroupNorms into the built model.  [default: replace]",
)
@click.option(
    "--groups",
    type=click.IntRange(min=1),
    metavar="N",
    help="group-norm: groups at most.  [default: 32]",
)
@click.option(
    "--min-group-size",
    type=click.IntRange(min=1),
    metavar="N",
    help="group-norm: channels in a group at least.  [default: 4]",
)
@click.option(
    "--group-fallback",
    type=click.Choice(GROUP_FALLBACKS),
    help="group-norm: what to do where --groups does not divide the channels or leaves groups"
    " too small.  [default: divisor]",
)
@click.option(
    "--select",
    callback=_prefixes,
    multiple=True,
    metavar="CODES",
    help="Only the rules whose code starts so, as BN1,BN203.  [default: all]",
)
@click.option(
    "--ignore",
    callback=_prefixes,
    multiple=True,
    metavar="CODES",
    help="Not the rules whose code starts so; of --select and --ignore the longer prefix wins.",
)
@walk_options
@click.option("--stdin-filename", metavar="PATH", help="The file that standard input stands for.")
@click.option("--exit-zero", is_flag=True, help="Exit 0 where 1 would be; errors stay 2.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to report.",
)
@click.option("--statistics", is_flag=True, help="Also count per rule and kind, and time stages.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Worker processes at most.  [default: by CPUs and number of files]",
)
@click.option(
    "--verify",
    is_flag=True,
    help="Then build what was rewritten and run it under vmap, as `bncodemod verify` does.",
)
@verifier_options("With --verify. ")
@click.option("-q", "--quiet", is_flag=True, help="Only open findings and errors.")
@click.option("-v", "--verbose", is_flag=True, help="Every finding: rewritten, safe, ignored too.")
@click.version_option(__version__, prog_name="bncodemod", message="%(prog)s %(version)s")
def main(paths: tuple[str, ...], **options: Any) -> None:
    """Rewrite every batch norm below PATH... so that torch.func.vmap runs over it.

    Files are rewritten in place. A folder means every Python file in it that neither .gitignore
    nor --exclude leaves out; `-` means standard input. Code is only read, never run, but for
    --verify.
    """
    _check_usage(paths, options)
    sys.exit(
        ended(
            lambda: _run(paths, _configuration(paths, options), options),
            interrupted="every file is whole, old or new; some may be left to do",
        )
    )


def _command(name: str) -> click.Command | None:
    """The command of that name, if there is one: only that one is imported."""
    if name == "explain":
        from bncodemod.cli.explain import explain

        return explain
    if name == "migrate-checkpoint":
        from bncodemod.cli.migrate_checkpoint import migrate_checkpoint

        return migrate_checkpoint
    if name == "verify":
        from bncodemod.cli.verify import verify

        return verify
    return None


def _check_usage(paths: tuple[str, ...], options: dict[str, Any]) -> None:
    if not paths:
        raise click.UsageError("nothing to do: name files or folders, or - for standard input")
    if "-" in paths and len(paths) > 1:
        raise click.UsageError("- (standard input) cannot be combined with other paths")
    if options["stdin_filename"] is not None and paths != ("-",):
        raise click.UsageError("--stdin-filename needs - as the only path")
    if options["quiet"] and options["verbose"]:
        raise click.UsageError("--quiet and --verbose exclude each other")
    if options["verify"] and (options["check"] or options["diff"] or paths == ("-",)):
        raise click.UsageError("--verify runs what was written: not with --check, --diff or -")
    if not options["verify"] and (idle := without_verify(options)):
        raise click.UsageError(f"{idle[0]} has no effect without --verify")


def _configuration(paths: tuple[str, ...], options: dict[str, Any]) -> Configuration:
    """What pyproject.toml says, under what was typed."""
    given = typed(
        options,
        (
            "strategy",
            "groups",
            "min_group_size",
            "group_fallback",
            "third_party",
            "patch",
            "force_exclude",
            "project",
            "select",
            "ignore",
            "exclude",
            "extend_exclude",
        ),
    )
    if paths == ("-",):
        paths = (options["stdin_filename"],) if options["stdin_filename"] else ()
    configuration = load_configuration(paths, given, known_codes)
    _check_effect(given, configuration)
    if configuration.verify:
        from bncodemod.verify.options import read_options

        read_options(configuration)  # a mistake is known before anything is written
    return configuration


def _check_effect(given: dict[str, Any], configuration: Configuration) -> None:
    """An option that has no effect is a mistake: the user meant another strategy."""
    settings = [configuration.settings]
    settings += [replace(settings[0], **o.changes) for o in configuration.overrides]
    for name, needed in settings[0].unused.items():
        if name in given and all(name in other.unused for other in settings):
            option = "--" + name.replace("_", "-")
            raise click.UsageError(f"{option} has no effect without {needed}")


def _run(paths: tuple[str, ...], configuration: Configuration, options: dict[str, Any]) -> int:
    """Go through the files, report, and give the exit code."""
    from bncodemod.report.progress import ProgressBar
    from bncodemod.report.totals import Totals

    standard_input = paths == ("-",)
    if options["verify"]:
        from bncodemod.verify.errors import require_torch

        require_torch()  # before anything is written
    notes: list[str] = []
    totals = Totals(applied=not (options["check"] or options["diff"]))
    report = _report(options, totals.applied, standard_input)
    progress = ProgressBar(sys.stderr, shown=not options["quiet"])
    if standard_input:
        from bncodemod.cli.standard_input import rewrite_standard_input

        results = rewrite_standard_input(configuration, options["stdin_filename"], totals.applied)
        progress(1, 1)
    else:
        from bncodemod.sweep.run import sweep

        results = sweep(
            paths,
            configuration,
            write=totals.applied,
            jobs=options["jobs"],
            on_progress=progress,
            seconds=totals.seconds,
            notes=notes,
        )
    with_diff = options["diff"] and options["format_"] == "text"
    rewritten: list[FileResult] = []
    try:
        for result in results:
            progress.pause()
            totals.add(result)
            if options["verify"] and result.after is not None:
                rewritten.append(result)
            if with_diff:
                _print_diff(result)
            report.add(result)
    finally:
        progress.pause()
    totals.files = progress.total
    code = totals.exit_code(exit_zero=options["exit_zero"])
    if options["verify"]:
        code = max(code, _finish_verified(paths, configuration, options, report, totals, rewritten))
    else:
        report.finish(totals)
    for note in notes:
        click.echo(f"Warning: {note}", err=True)
    if not totals.files:
        click.echo("Warning: no Python files found under the given paths", err=True)
    return code


def _finish_verified(
    paths: tuple[str, ...],
    configuration: Configuration,
    options: dict[str, Any],
    report: TextReport | JsonReport,
    totals: Totals,
    rewritten: list[FileResult],
) -> int:
    """Finish the report of the rewrite, verify what it wrote, report that, and give its code."""
    from bncodemod.cli.verify import exit_code, report_text, run
    from bncodemod.report.json import JsonReport
    from bncodemod.verify.errors import CannotVerify
    from bncodemod.verify.options import read_options

    wanted = read_options(configuration, typed_for_verifier(options))
    if not isinstance(report, JsonReport):
        report.finish(totals)
        found = run(paths, configuration, wanted, options["quiet"], rewritten)
        report_text(found, wanted, options)
    else:
        from bncodemod.report.verification_json import record

        try:
            found = run(paths, configuration, wanted, options["quiet"], rewritten)
        except CannotVerify:
            report.finish(totals)  # the rewrite has been done all the same
            raise
        report.finish(totals, record(found, traces=options["trace"]))
    return exit_code(found, wanted, exit_zero=options["exit_zero"])


def _report(
    options: dict[str, Any], applied: bool, standard_input: bool
) -> TextReport | JsonReport:
    """The report of the chosen format, on standard output unless source or a diff goes there."""
    source_goes_out = standard_input and applied
    if options["format_"] == "json":
        from bncodemod.report.json import JsonReport

        stream = sys.stderr if source_goes_out else sys.stdout
        return JsonReport(stream, statistics=options["statistics"])
    from bncodemod.report.text import TextReport

    return TextReport(
        sys.stderr if standard_input or options["diff"] else sys.stdout,
        applied=applied,
        quiet=options["quiet"],
        verbose=options["verbose"],
        name_changed=not (options["diff"] or source_goes_out),
        statistics=options["statistics"],
    )


def _print_diff(result: FileResult) -> None:
    if result.after is None:
        return
    from bncodemod.report.diff import unified

    sys.stdout.flush()
    output = sys.stdout.buffer
    output.writelines(unified(result))
    output.flush()
