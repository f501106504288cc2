"""Rewrites installed packages as if they were a user's code, and looks at what their models do.

The full run, all models of all packages with both strategies (an hour on two cores)::

    python tests/zoo/zoo.py all

``python tests/zoo/zoo.py PACKAGE... [--strategy S] [--sample N] [--run N]`` does less. It copies a
package, runs the real command line on the copy, builds all registered models on the meta device
before and after, and says which lines constructed the norms that still keep running stats, and
whether an open finding stands at those lines. Then it runs the small models of ``zoo_models``:
seeded outputs before and after, and vmap. It ends with exit code 1 and says why if the figures to
reach (``zoo_figures``) are not reached; the tests hold samples to the same figures.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import zoo_figures
import zoo_models
from zoo_packages import PACKAGES
from zoo_report import Report, Rewritten, report, text

HERE = pathlib.Path(__file__).resolve().parent
STRATEGIES = ("no-running-stats", "group-norm")
SEED = 20


# --- copy and rewrite -------------------------------------------------------------------------


def copy_package(package: str, root: pathlib.Path) -> pathlib.Path:
    """Copy an installed package's files, without what is compiled, into ``root``."""
    spec = importlib.util.find_spec(package)
    assert spec is not None, f"{package} is not installed"
    assert spec.submodule_search_locations
    (source,) = spec.submodule_search_locations
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc", "*.so", "*.pyd", "*.dylib")
    return shutil.copytree(source, root / package, ignore=ignore)


def environment() -> dict[str, str]:
    quiet = {"PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"}
    return {**os.environ, **quiet, "OMP_NUM_THREADS": "1"}


def rewrite(package: str, strategy: str, folder: pathlib.Path) -> Rewritten:
    """Copy a package of the zoo twice and run the command line on the second copy."""
    before, after = folder / "before", folder / "after"
    members = PACKAGES[package].rewritten
    for member in members:
        copy_package(member, before)
        copy_package(member, after)
    command = [sys.executable, "-m", "bncodemod", "--strategy", strategy, "--format", "json"]
    done = subprocess.run(
        [*command, *members], cwd=after, env=environment(), capture_output=True, text=True
    )
    try:
        output = json.loads(done.stdout)
    except json.JSONDecodeError:
        said = f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
        raise AssertionError(f"bncodemod exit code {done.returncode}: {said}") from None
    return Rewritten(package, strategy, before, after, done.returncode, output)


# --- build ------------------------------------------------------------------------------------


def build_models(
    roots: Sequence[pathlib.Path], package: str, models: Sequence[str] | None
) -> list[dict[str, Any]]:
    """Build the models of each copy, all copies at the same time, each in its own process."""
    running = []
    for root in roots:
        out = root.parent / f"{root.name}.built.json"
        command = [sys.executable, str(HERE / "zoo_build.py"), str(root), package, str(out)]
        if models is not None:
            names = root.parent / f"{root.name}.models.json"
            names.write_text(json.dumps(list(models)))
            command.append(str(names))
        running.append((start(command, root.parent), out))
    return [finished(process, out) for process, out in running]


def run_models(
    roots: Sequence[pathlib.Path], package: str, mode: str, models: Sequence[zoo_models.Model]
) -> list[dict[str, Any]]:
    """Run models of each copy, all copies at the same time, each in its own process."""
    running = []
    for root in roots:
        names = root.parent / f"{root.name}.{mode}.models.json"
        names.write_text(json.dumps(models))
        out = root.parent / f"{root.name}.{mode}.json"
        worker = str(HERE / "zoo_run.py")
        command = [sys.executable, worker, str(root), package, mode, str(out), str(names)]
        running.append((start(command, root.parent), out))
    return [finished(process, out) for process, out in running]


def start(command: Sequence[str], folder: pathlib.Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True
    )


def finished(process: subprocess.Popen[str], out: pathlib.Path) -> dict[str, Any]:
    _, errors = process.communicate()
    if process.returncode != 0:
        raise AssertionError(f"worker exit code {process.returncode}: {errors[-3000:]}")
    data: dict[str, Any] = json.loads(out.read_text())
    return data


def sample(families: dict[str, str], count: int, seed: int = SEED) -> list[str]:
    """``count`` models, of as many different families (defining modules) as there are."""
    chooser = random.Random(seed)
    by_family: dict[str, list[str]] = defaultdict(list)
    for name in sorted(families):
        by_family[families[name]].append(name)
    order = sorted(by_family)
    chooser.shuffle(order)
    for names in by_family.values():
        chooser.shuffle(names)
    chosen: list[str] = []
    while len(chosen) < min(count, len(families)):
        for name in order:
            if by_family[name] and len(chosen) < count:
                chosen.append(by_family[name].pop())
    return sorted(chosen)


def examine(
    rewritten: Rewritten, count: int | None = None, models: Sequence[str] | None = None
) -> Report:
    """Build both copies (all models, a seeded sample, or those named) and compare."""
    package = rewritten.package
    if count is not None and models is None:
        (listing,) = build_models([rewritten.before], package, [])
        models = sample(listing["registered"], count)
    key = (package, None if models is None else tuple(models))
    roots = [rewritten.after] if key in _BEFORE else [rewritten.after, rewritten.before]
    after, *before = build_models(roots, package, models)
    if before:
        _BEFORE[key] = before[0]
    return report(rewritten, _BEFORE[key], after)


# What was built before the rewrite is the same for every strategy.
_BEFORE: dict[tuple[str, tuple[str, ...] | None], dict[str, Any]] = {}


# --- everything about one package -------------------------------------------------------------


def outputs(copies: Rewritten, models: Sequence[zoo_models.Model]) -> zoo_figures.Figures:
    """Whether seeded train-mode outputs and gradients are the same bits before and after."""
    roots = [copies.before, copies.after]
    before, after = run_models(roots, copies.package, "outputs", models)
    return zoo_figures.outputs(copies.package, before, after)


def mapped(copies: Rewritten, models: Sequence[zoo_models.Model]) -> zoo_figures.Figures:
    """Whether models run under vmap and equal the loop, and no GroupNorm's output is constant.

    What does not run is tried once more as it was before, its batch norms patched by torch.func:
    if that fails too, it is not for the norms.
    """
    (results,) = run_models([copies.after], copies.package, "vmap", models)
    failed = [model for model in models if "error" in results[model[0]]]
    patched: dict[str, Any] = {}
    if failed:
        (patched,) = run_models([copies.before], copies.package, "patched-vmap", failed)
    return zoo_figures.mapped(copies.package, results, patched)


def small_models(package: str, count: int | None = None) -> list[zoo_models.Model]:
    """The models that are run: all, or a seeded sample."""
    models = {model[0]: model for model in zoo_models.BY_PACKAGE[package]}
    return [models[name] for name in sample({n: n for n in models}, count or len(models))]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("packages", nargs="+", choices=("all", *PACKAGES), metavar="PACKAGE")
    parser.add_argument("--strategy", choices=STRATEGIES, action="append", help="default: both")
    parser.add_argument("--sample", type=int, metavar="N", help="build N models only, seeded")
    parser.add_argument("--run", type=int, metavar="N", help="run N models only, seeded")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the reports")
    parser.add_argument("--limit", type=int, default=40, help="lines of a table (default 40)")
    parser.add_argument("--keep", type=pathlib.Path, metavar="DIR", help="leave the copies there")
    options = parser.parse_args(arguments)
    packages = list(PACKAGES) if "all" in options.packages else options.packages
    misses: list[str] = []
    reports = []
    for package in packages:
        for strategy in options.strategy or STRATEGIES:
            with tempfile.TemporaryDirectory() as temporary:
                folder = (options.keep or pathlib.Path(temporary)).resolve()
                copies = rewrite(package, strategy, folder / f"{package}-{strategy}")
                found = examine(copies, options.sample)
                run = outputs if strategy == "no-running-stats" else mapped
                ran = run(copies, small_models(package, options.run))
            print(text(found, options.limit), *ran.lines, "", sep="\n", flush=True)
            reports.append({**asdict(found), "ran": asdict(ran)})
            misses += [*zoo_figures.built(found), *ran.misses]
        _BEFORE.clear()
    print("figures not reached:" if misses else "all figures reached", *misses, sep="\n  ")
    if options.json:
        options.json.write_text(json.dumps(reports, indent=1))
    return 1 if misses else 0


if __name__ == "__main__":
    sys.exit(main())
