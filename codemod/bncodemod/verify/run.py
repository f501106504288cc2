"""A run of the verifier, from the paths to the verdicts."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from bncodemod.model import FileResult
from bncodemod.settings import Configuration
from bncodemod.sweep.run import available_cpus
from bncodemod.verify.devices import choose, cpu_workers, label, memory_limit
from bncodemod.verify.driver import Driver, Gathered, Limits
from bncodemod.verify.jobs import Jobs
from bncodemod.verify.model import (
    OF_USERS,
    Check,
    Job,
    ModuleResult,
    Site,
    SiteKind,
    SiteResult,
    Verdict,
    Verification,
)
from bncodemod.verify.naming import named
from bncodemod.verify.options import Options
from bncodemod.verify.originals import Originals, from_git
from bncodemod.verify.protocol import Setup
from bncodemod.verify.sources import Sources, add_sites, read_files
from bncodemod.verify.verdicts import hanging_on_guesses, judge

_USERS_OF_USERS = 3  # rounds: what uses a candidate that was fed by guess may be fed so itself

OnProgress = Callable[[int, int], None]
OnNotice = Callable[[str], None]


def verify(
    paths: Sequence[str | os.PathLike[str]],
    configuration: Configuration,
    options: Options,
    *,
    rewritten: Iterable[FileResult] | None = None,
    on_progress: OnProgress | None = None,
    on_notice: OnNotice | None = None,
) -> Verification:
    """Build and run what makes norms below ``paths``.

    ``rewritten`` are the results of the rewrite just done: only what it wrote is then to be shown,
    as only what is new is with ``options.against``. ``on_notice`` gets what a user should know at
    once. Raises ConfigurationError and CannotVerify.
    """
    begun = time.monotonic()
    sources = read_files(paths, configuration)
    results = {os.path.abspath(r.path): r for r in rewritten or ()}
    originals: Originals = {p: r.before for p, r in results.items() if r.after is not None}
    if options.against:
        originals = from_git(sources.data, options.against)
    written = {path: result.findings for path, result in results.items()}
    add_sites(sources, paths, configuration, originals, written)
    everything = rewritten is None and not options.against
    asked = [site for site in sources.all_sites() if site.rewritten or everything]
    seconds = {"find": time.monotonic() - begun}
    if not asked:
        found = Verification((), _in_order(sources.broken), (), "", seconds=seconds)
        return named(found, sources.names)
    found = _examined(sources, asked, options, originals, on_progress, on_notice)
    found = dataclasses.replace(found, seconds={**seconds, **found.seconds})
    return named(found, sources.names)


def _examined(
    sources: Sources,
    asked: list[Site],
    options: Options,
    originals: Originals,
    on_progress: OnProgress | None,
    on_notice: OnNotice | None,
) -> Verification:
    say = on_notice or (lambda _: None)
    limits = Limits(options.timeout, options.module_timeout)
    workers = cpu_workers(len({site.path for site in asked}))
    threads = available_cpus() // workers
    with (
        Driver(Setup(examples=options.examples), limits, threads) as driver,
        tempfile.TemporaryDirectory(prefix="bncodemod-") as folder,
    ):
        hello = driver.start()
        devices = choose(options.device, hello.cards, workers)
        if "cpu" in devices and options.device == "auto":
            say("there is no CUDA device: what follows was run on the CPU")
        driver.limits = Limits(
            options.timeout, options.module_timeout, memory_limit(options.memory, len(devices))
        )
        jobs = Jobs(sources, options, hello.examples, originals, folder)
        for name in jobs.unused_examples():
            say(f"an example is for {name}, which no module of the run defines")
        for batch in _batches(jobs, asked, sources, driver, options.checks):
            driver.run(batch, devices, on_progress)
        gathered = driver.gathered
        for candidate in gathered.candidates.values():
            if candidate.error and jobs.is_said(candidate):
                say(f"the example for {candidate.name} is no help: {candidate.error}")
        device = ", ".join(label(device, hello.cards) for device in dict.fromkeys(devices))
        return Verification(
            sites=_judged(asked, sources, gathered, device),
            modules=_in_order(_modules(sources, gathered)),
            candidates=tuple(result for _, result in sorted(gathered.candidates.items())),
            device=device,
            versions=hello.versions,
            seconds=gathered.seconds,
            tolerance=hello.tolerance,
        )


def _batches(
    jobs: Jobs, asked: list[Site], sources: Sources, driver: Driver, checks: frozenset[Check]
) -> Iterator[list[Job]]:
    """The jobs of a run, each batch of them by what those before it have shown.

    First come the modules of the sites, then others that use what was not reached, and what was fed
    by guess.
    """
    yield jobs.of_sites(asked)
    left = [r.site for r in _judged(asked, sources, driver.gathered) if _is_left(r, driver)]
    yield jobs.of_users(left)
    for _ in range(_USERS_OF_USERS if checks & OF_USERS else 0):
        results = _judged(asked, sources, driver.gathered)
        guesses = hanging_on_guesses(results, driver.gathered.candidates.values())
        lost = {path for path, _ in driver.gathered.lost}
        yield jobs.of_users_of_guesses(guesses, driver.gathered.tried(), lost)


def _judged(
    asked: list[Site], sources: Sources, gathered: Gathered, device: str = ""
) -> tuple[SiteResult, ...]:
    modules = _modules(sources, gathered)
    return judge(asked, modules, gathered.candidates.values(), device, gathered.reasons)


def _modules(sources: Sources, gathered: Gathered) -> dict[str, ModuleResult]:
    return {**sources.broken, **gathered.modules}


def _in_order(modules: dict[str, ModuleResult]) -> tuple[ModuleResult, ...]:
    return tuple(result for _, result in sorted(modules.items()))


def _is_left(result: SiteResult, driver: Driver) -> bool:
    """Whether a site may still be reached by way of another module.

    A block is run by a call of the function that holds it, which its own module's job has tried.
    """
    if result.site.kind is SiteKind.BLOCK:
        return False
    module = driver.gathered.modules.get(result.site.path)
    return result.verdict is Verdict.NOT_REACHED and module is not None and not module.error
