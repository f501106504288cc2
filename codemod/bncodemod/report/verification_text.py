"""The verifier's report for a person: what failed, what was not reached and why, and the sums."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from typing import TextIO

from bncodemod.report.console import Console, Span
from bncodemod.report.text import plural
from bncodemod.verify.model import (
    CandidateResult,
    Cause,
    CheckResult,
    ModuleResult,
    Outcome,
    SiteResult,
    Verdict,
    Verification,
)
from bncodemod.verify.verdicts import NOT_CHOSEN, REGISTRY

_STYLES = {Verdict.VERIFIED: "green", Verdict.FAILED: "red", Verdict.NOT_REACHED: "yellow"}
# torch says the same in four lines.
_RUNNING_STATS = "running statistics are updated in place, which vmap refuses"
_CHECKS = "choose meta-vmap, vmap, grad or ensemble too"
_CUDA = "run the verifier where there is a CUDA device, or say how to build it without one"
_ASKS_FOR_CUDA = re.compile(r"with CUDA enabled|CUDA GPUs|NVIDIA driver")
_EXAMPLE = "say how to build and feed it: docs/verify.md, or `bncodemod explain not-reached`"


def write_text(
    stream: TextIO,
    verification: Verification,
    *,
    quiet: bool = False,
    verbose: bool = False,
    traces: bool = False,
) -> None:
    """Write the report.

    What failed or was not reached is always shown; ``verbose`` adds what was verified, and by
    which model; ``traces`` adds raw tracebacks; ``quiet`` leaves out the summary.
    """
    _Writer(Console(stream), verification, verbose, traces).write(quiet)


class _Writer:
    def __init__(
        self, console: Console, verification: Verification, verbose: bool, traces: bool
    ) -> None:
        self._console = console
        self._whole = verification
        self._verbose = verbose
        self._traces = traces

    def write(self, quiet: bool) -> None:
        for module in self._whole.modules:
            self._module(module)
        missing = {module.path for module in self._whole.modules if module.error}
        shown = [r for r in self._whole.sites if self._is_shown(r, missing)]
        for _, alike in groupby(shown, _remedy_of):
            self._sites(list(alike))
        if self._verbose:
            for candidate in self._whole.candidates:
                self._candidate(candidate)
        self._timings()
        if not quiet:
            for spans in summary(self._whole):
                self._console.line(*spans)
            if self._verbose:
                for line in _longest(self._whole):
                    self._console.line((line, ""))
        self._console.flush()

    def _is_shown(self, result: SiteResult, missing: set[str]) -> bool:
        if result.verdict is Verdict.NOT_REACHED:
            return result.site.path not in missing  # the module's line says it for all
        return self._verbose or result.verdict is Verdict.FAILED

    def _module(self, module: ModuleResult) -> None:
        if module.error:
            sites = sum(result.site.path == module.path for result in self._whole.sites)
            behind = f" ({plural(sites, 'site')} not reached)" if sites else ""
            self._line(module.path, *_status(module), module.error + behind)
            self._trace(module.trace)
        for note in module.notes:
            self._line(module.path, "note", "cyan", note)
        if module.output and (self._verbose or module.error):
            for line in module.output.splitlines()[-20:]:
                self._console.line(("    it printed: ", "dim"), (line, ""))
        self._remedy(module.remedy)

    def _sites(self, results: list[SiteResult]) -> None:
        """Sites in a row that have one remedy."""
        for result in results:
            site = result.site
            place = f"{site.path}:{site.line}:{site.column}"
            self._line(place, result.verdict.value, _STYLES[result.verdict], _words(result))
            if result.failure is not None:
                self._trace(result.failure.trace)
        self._remedy(_remedy_of(results[0])[1])

    def _candidate(self, candidate: CandidateResult) -> None:
        place = f"{candidate.path}:{candidate.line}"
        if candidate.error:
            is_built = any(check.cause is not Cause.BROKEN for check in candidate.checks)
            status = "stopped" if is_built else "not built"  # in a check, or before
            self._line(place, status, "dim", f"{candidate.name}: {candidate.error}")
            return
        how = f" ({candidate.built.value})" if candidate.built else ""
        fed = f", fed {candidate.inputs}" if candidate.inputs else ""
        said = f"{candidate.call}{how}{fed}" if candidate.call else candidate.name
        self._line(place, "built", "dim", said)
        for note in candidate.notes:
            self._console.line(("    note: ", "dim"), (note, ""))
        for check in candidate.checks:
            if check.outcome is Outcome.NOTED:
                where = f", at {check.path}:{check.line}" if check.line else ""
                said = f"{check.check.value}: {check.message}{where}"
                self._console.line(("    note: ", "dim"), (said, ""))

    def _timings(self) -> None:
        for line in table(self._whole):
            self._console.line((line, ""))

    def _line(self, place: str, status: str, style: str, words: str) -> None:
        self._console.line((place, "bold"), (f" [{status}]", style), (f" {words}", ""))

    def _remedy(self, remedy: str) -> None:
        if remedy:
            self._console.line(("    remedy: ", "dim"), (remedy, ""))

    def _trace(self, trace: str) -> None:
        if self._traces:
            for line in trace.splitlines():
                self._console.line(("    | ", "dim"), (line, ""))


def _status(module: ModuleResult) -> tuple[str, str]:
    """What became of a module with an error, and the style to say it in."""
    return ("not read", "red") if module.unread else ("not imported", "yellow")


def _words(result: SiteResult) -> str:
    failure = result.failure
    if failure is not None:
        cause = f", {failure.cause.value}" if failure.cause else ""
        where = f", at {failure.path}:{failure.line}" if failure.line else ""
        said = _RUNNING_STATS if failure.cause is Cause.RUNNING_STATS else failure.message
        passes = f"; it passes in {result.passed_in}" if result.passed_in else ""
        return f"{failure.check.value}{cause}: {said} (in {result.candidate}{where}){passes}"
    if result.verdict is Verdict.VERIFIED:
        parts = f", run in parts: {', '.join(result.parts)}" if result.parts else ""
        passed = f"in {result.candidate}{parts}: " + ", ".join(c.value for c in result.checks)
        if result.unfinished:
            passed += f"; took too much: {', '.join(c.value for c in result.unfinished)}"
        if result.failed_elsewhere:
            passed += f"; failed elsewhere: {', '.join(result.failed_elsewhere)}"
        return passed
    return result.reason


def _remedy_of(result: SiteResult) -> tuple[str, str]:
    """The file and the remedy: sites in a row that have these in common share a line."""
    if result.failure is not None:
        return result.site.path, result.failure.remedy
    if result.verdict is not Verdict.NOT_REACHED or result.reason == REGISTRY:
        return result.site.path, ""
    if result.reason.startswith(NOT_CHOSEN):
        return result.site.path, _CHECKS
    return result.site.path, _CUDA if _ASKS_FOR_CUDA.search(result.reason) else _EXAMPLE


def summary(whole: Verification) -> Iterator[list[Span]]:
    """The closing lines; each is a sum, so that nothing can go missing in between."""
    counts = {v: sum(result.verdict is v for result in whole.sites) for v in Verdict}
    parts: list[Span] = [(f"{plural(len(whole.sites), 'site')} = ", "")]
    for number, verdict in enumerate(Verdict):
        plus = " + " if number else ""
        style = _STYLES[verdict] if counts[verdict] else ""
        parts += [(plus, ""), (f"{counts[verdict]} {verdict.value}", style)]
    if whole.coverage is None:
        yield parts
        if whole.unread:
            yield [(f"{plural(len(whole.unread), 'file')} not read", "red")]
        return
    yield [*parts, (f"; coverage {shown_percent(whole.coverage)} %", "")]
    if in_parts := sum(bool(result.parts) for result in whole.sites):
        yield [(f"{in_parts} verified in parts of models that do not run as a whole here", "")]
    if guessed := sum(result.guessed for result in whole.sites):
        yield [(f"{guessed} verified on inputs that were guessed (-v: on which)", "")]
    if unfinished := sum(bool(result.unfinished) for result in whole.sites):
        yield [(f"{unfinished} verified without a check that took too much (-v: which)", "")]
    for remark, places in _remarks(whole).items():
        yield [(f"{remark}: {_some(places)}", "yellow")]
    unread = len(whole.unread)
    failed = sum(bool(module.error) for module in whole.modules) - unread
    imported = len(whole.modules) - failed - unread
    yield [
        (f"{plural(len(whole.modules), 'module')} = {imported} imported + ", ""),
        (f"{failed} not imported", "yellow" if failed else ""),
        (f" + {unread} not read" if unread else "", "red"),
    ]
    versions = [f"{name} {version}" for name, version in whole.versions.items()]
    yield [(f"on {', '.join([whole.device or 'no device', *versions])}", "")]
    if whole.tolerance:
        yield [(f"equal: within {_tolerance(whole.tolerance)} of the largest number", "")]
    yield [(_seconds(whole), "")]


def _remarks(whole: Verification) -> dict[str, list[str]]:
    """What to know of models in which norms were verified, and where the models stand."""
    found: dict[str, dict[str, None]] = defaultdict(dict)  # in order, each place once
    verified = {r.site for r in whole.sites if r.verdict is Verdict.VERIFIED}
    for candidate in whole.candidates:
        for check in candidate.checks if verified.intersection(candidate.sites) else ():
            if check.outcome is Outcome.NOTED and (remark := _remark(check)):
                path, line = check.path or candidate.path, check.line or candidate.line
                found[remark][f"{path}:{line}"] = None
    return {remark: list(places) for remark, places in found.items()}


def _remark(check: CheckResult) -> str:
    """What is worth a line of the summary: what asks for something, or may be a fault."""
    if check.cause in _RANDOM:
        return f"random numbers are drawn: {check.remedy}"
    return check.message if check.cause is Cause.CONSTANT else ""


_RANDOM = frozenset({Cause.RANDOMNESS, Cause.STOCHASTIC_DEPTH})


def _some(places: list[str]) -> str:
    """The first places, and how many more there are."""
    more = len(places) - _SHOWN
    return ", ".join(places[:_SHOWN]) + (f" and {more} more (-v: all)" if more > 0 else "")


def shown_percent(coverage: float) -> str:
    """Per cent with one decimal; 100 only if it is all of it."""
    return "100" if coverage == 100 else f"{min(coverage, 99.9):.1f}"


def _tolerance(tolerance: dict[str, float]) -> str:
    named = {name: tolerance[name] for name in ("float32", "float64") if name in tolerance}
    return ", ".join(f"{off:g} ({name})" for name, off in (named or tolerance).items())


def stages(whole: Verification) -> dict[str, float]:
    """Where the time went, in seconds: what workers did side by side counts as often."""
    checks = sum(check.seconds for c in whole.candidates for check in c.checks)
    times = sum(timing.seconds for c in whole.candidates for timing in c.timings)
    return {
        "find": whole.seconds.get("find", 0.0),
        "start": whole.seconds.get("start", 0.0),
        "import": sum(module.seconds for module in whole.modules),
        "build": sum(candidate.seconds for candidate in whole.candidates) - checks,
        "check": checks,
        "time": times,
    }


def _seconds(whole: Verification) -> str:
    total = sum(whole.seconds.values())
    taken = stages(whole)
    if not taken["time"]:  # it was not asked for
        del taken["time"]
    parts = [f"{name} {seconds:.1f}" for name, seconds in taken.items()]
    alone, shared = ", ".join(parts[:_ALONE]), ", ".join(parts[_ALONE:])
    return f"{total:.1f} s ({alone}; in all workers: {shared})"


_ALONE = 2  # the stages that come before the workers'


def _longest(whole: Verification) -> Iterator[str]:
    """The checks and the candidates that took the longest."""
    checks: dict[str, float] = defaultdict(float)
    candidates: dict[str, float] = defaultdict(float)
    for candidate in whole.candidates:
        candidates[candidate.name] += candidate.seconds
        for check in candidate.checks:
            checks[check.check.value] += check.seconds
    for what, spent in (("checks", checks), ("candidates", candidates)):
        most = sorted(spent.items(), key=lambda pair: -pair[1])[:_SHOWN]
        said = ", ".join(f"{name} {taken:.1f}" for name, taken in most if taken >= 0.05)
        if said:
            yield f"longest of the {what}, in s: {said}"


_SHOWN = 5


def table(whole: Verification) -> list[str]:
    """What was timed, in columns; no line if nothing was."""
    timed = [(c.name, timing) for c in whole.candidates for timing in c.timings]
    if not timed:
        return []
    rows = [("model", "what", "size", "loop ms", "vmap ms", "gain")]
    for name, timing in timed:
        gain = f"{timing.loop / timing.vmap:.1f}x" if timing.vmap else ""
        numbers = f"{timing.loop:.2f}", f"{timing.vmap:.2f}"
        rows.append((name, timing.what, str(timing.size), *numbers, gain))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
