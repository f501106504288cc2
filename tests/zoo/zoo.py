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
import ast
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
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import zoo_figures
import zoo_models
from zoo_packages import PACKAGES

HERE = pathlib.Path(__file__).resolve().parent
STRATEGIES = ("no-running-stats", "group-norm")
SEED = 20
# Where the open finding stands: at the line that constructs the norm, at a line that leads there,
# at the class or def (bases, defaults) that one of these lines is in, elsewhere in the body of
# such a function (where it chooses the norm that it hands on), or nowhere.
COVERED = ("line", "chain", "header", "function", "none")


@dataclass
class Leftover:
    """A line that still constructs norms with running stats, or has another package do it."""

    path: str
    line: int
    source: str
    outside: str = ""
    norms: int = 0
    models: int = 0
    covered: str = "none"
    findings: list[str] = field(default_factory=list)
    callers: list[str] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)  # of models


@dataclass
class Report:
    """What a package's rewrite left behind.

    Norms that a package outside of the copies constructs are counted apart, as ``outside``.
    """

    package: str
    version: str
    strategy: str
    exit_code: int
    summary: dict[str, Any]
    findings: dict[str, int]
    errors: list[dict[str, Any]]
    registered: int
    models: int
    built_before: int
    built_after: int
    lost: dict[str, str]
    failed_before: dict[str, str]
    norms_before: int
    norms_left: dict[str, int]
    outside_before: int
    outside_left: dict[str, int]
    group_norms: int
    other_running_stats: dict[str, int]
    models_with_norms_left: list[str]
    opacus: dict[str, int] | None
    leftovers: list[Leftover]

    @property
    def left(self) -> int:
        return sum(self.norms_left.values())


@dataclass(frozen=True)
class Rewritten:
    """A package's copy before and after the rewrite, and what the command line said."""

    package: str
    strategy: str
    before: pathlib.Path
    after: pathlib.Path
    exit_code: int
    output: dict[str, Any]


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


# --- join with the findings -------------------------------------------------------------------


Definition = tuple[range, range, bool]  # lines of its head and of its body; is it a class


class OpenFindings:
    """Open findings by the lines that they cover in the rewritten files."""

    def __init__(self, findings: Sequence[dict[str, Any]], root: pathlib.Path) -> None:
        self._lines: dict[tuple[str, int], list[str]] = defaultdict(list)
        self._definitions: dict[str, list[Definition]] = {}
        self._root = root
        for finding in findings:
            if finding["status"] != "open":
                continue
            path = os.path.relpath(root / finding["path"], root)
            length = finding["end_line"] - finding["line"]
            for line in range(finding["line_after"], finding["line_after"] + length + 1):
                self._lines[path, line].append(finding["code"])

    def at(self, frame: Sequence[Any]) -> list[str]:
        path, first, last = frame
        return self._within(path, range(first, last + 1))

    def at_headers(self, frame: Sequence[Any]) -> list[str]:
        """Those at the first lines of the classes and functions that a frame's line is in."""
        return [
            code for header, _, _ in self._around(frame) for code in self._within(frame[0], header)
        ]

    def in_function(self, frame: Sequence[Any]) -> list[str]:
        """Those in the body of the innermost function that a frame's line is in."""
        bodies = [body for _, body, is_class in self._around(frame) if not is_class]
        return self._within(frame[0], min(bodies, key=len)) if bodies else []

    def _around(self, frame: Sequence[Any]) -> list[Definition]:
        path, line, _ = frame
        if path not in self._definitions:
            self._definitions[path] = definitions(self._root / path)
        return [found for found in self._definitions[path] if line in found[1]]

    def _within(self, path: str, lines: range) -> list[str]:
        return [code for line in lines for code in self._lines[path, line]]


def definitions(path: pathlib.Path) -> list[Definition]:
    """Every class and function of a file."""
    if not path.is_file():
        return []
    return [
        (
            range(node.lineno, node.body[0].lineno),
            range(node.body[0].lineno, end + 1),
            isinstance(node, ast.ClassDef),
        )
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and (end := node.end_lineno)
    ]


def judge(chain: Sequence[Sequence[Any]], findings: OpenFindings) -> tuple[str, list[str]]:
    """Where the open finding stands that a norm's construction has; see COVERED."""
    places = (
        ("line", chain[:1], findings.at),
        ("chain", chain[1:], findings.at),
        ("header", chain, findings.at_headers),
        ("function", chain, findings.in_function),
    )
    for covered, frames, look in places:
        if codes := [code for frame in frames for code in look(frame)]:
            return covered, codes
    return "none", []


def leftovers(built: dict[str, Any], findings: OpenFindings, root: pathlib.Path) -> list[Leftover]:
    """The lines that construct norms with running stats, the uncovered first."""
    table: dict[tuple[str, int, str, str], Leftover] = {}
    models: dict[tuple[str, int, str, str], set[str]] = defaultdict(set)
    for name, model in built["models"].items():
        for number, count in model.get("left", {}).items():
            outside, chain = built["chains"][int(number)] if int(number) >= 0 else ("", [])
            path, line, _ = chain[0] if chain else ("?", 0, 0)
            covered, codes = judge(chain, findings)
            key = (path, line, covered, outside)
            source = source_line(root / path, line)
            row = table.setdefault(key, Leftover(path, line, source, outside, covered=covered))
            row.norms += count
            row.findings = sorted({*row.findings, *codes})
            callers = {f"{frame[0]}:{frame[1]}" for frame in chain[1:2]}
            row.callers = sorted({*row.callers, *callers})[:5]
            models[key].add(name)
            row.models = len(models[key])
            row.examples = sorted(models[key])[:3]
    return sorted(table.values(), key=lambda row: (-COVERED.index(row.covered), -row.norms))


def source_line(path: pathlib.Path, line: int) -> str:
    if not path.is_file():
        return ""
    lines = path.read_text(encoding="utf-8").splitlines()
    return lines[line - 1].strip() if line <= len(lines) else ""


def count_left(built: dict[str, Any], outside: bool) -> int:
    """Norms with running stats that the copies constructed, or other packages."""
    return sum(
        count
        for model in built["models"].values()
        for number, count in model.get("left", {}).items()
        if bool(int(number) >= 0 and built["chains"][int(number)][0]) == outside
    )


def by_cover(rows: Sequence[Leftover]) -> dict[str, int]:
    left = Counter(dict.fromkeys(COVERED, 0))
    for row in rows:
        left[row.covered] += row.norms
    return dict(left)


def report(rewritten: Rewritten, before: dict[str, Any], after: dict[str, Any]) -> Report:
    errors_before = {n: m["error"] for n, m in before["models"].items() if "error" in m}
    errors_after = {n: m["error"] for n, m in after["models"].items() if "error" in m}
    built = {name: model for name, model in after["models"].items() if "error" not in model}
    findings = rewritten.output["findings"]
    rows = leftovers(after, OpenFindings(findings, rewritten.after), rewritten.after)
    complaints = {name: model["opacus"] for name, model in built.items()}
    return Report(
        package=rewritten.package,
        version=importlib.metadata.version(PACKAGES[rewritten.package].distribution),
        strategy=rewritten.strategy,
        exit_code=rewritten.exit_code,
        summary=rewritten.output["summary"],
        findings=dict(sorted(Counter(f"{f['code']} {f['status']}" for f in findings).items())),
        errors=rewritten.output["errors"],
        registered=len(after["registered"]),
        models=len(before["models"]),
        built_before=len(before["models"]) - len(errors_before),
        built_after=len(after["models"]) - len(errors_after),
        lost={n: e for n, e in errors_after.items() if n not in errors_before},
        failed_before=errors_before,
        norms_before=count_left(before, outside=False),
        norms_left=by_cover([row for row in rows if not row.outside]),
        outside_before=count_left(before, outside=True),
        outside_left=by_cover([row for row in rows if row.outside]),
        group_norms=sum(model["group_norms"] for model in built.values()),
        other_running_stats=dict(
            sum((Counter(model["other_running_stats"]) for model in built.values()), Counter())
        ),
        models_with_norms_left=sorted(name for name, model in built.items() if model["left"]),
        opacus=None if None in complaints.values() else {n: c for n, c in complaints.items() if c},
        leftovers=rows,
    )


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


# --- print ------------------------------------------------------------------------------------


def text(found: Report, limit: int = 40) -> str:
    lines = [
        f"{found.package} {found.version}, strategy {found.strategy}:"
        f" exit code {found.exit_code}, {len(found.errors)} file errors",
        f"  findings: {', '.join(f'{n} {c}' for n, c in found.findings.items()) or 'none'}",
        f"  models: {found.registered} registered, {found.models} tried,"
        f" {found.built_before} built before, {found.built_after} built after",
        f"  norms with running stats: {found.norms_before} before, {found.left} after"
        f" ({where(found.norms_left)})",
    ]
    if found.outside_before or any(found.outside_left.values()):
        lines.append(
            f"  and from packages that were not rewritten: {found.outside_before} before,"
            f" {sum(found.outside_left.values())} after ({where(found.outside_left)})"
        )
    lines.append(
        f"  models without any left: {found.built_after - len(found.models_with_norms_left)};"
        f" GroupNorms: {found.group_norms}; Opacus' validator finds batch norm in"
        f" {'?' if found.opacus is None else len(found.opacus)} models"
    )
    lines += [f"  file error: {e['path']}: {e['message']}" for e in found.errors[:limit]]
    if found.other_running_stats:
        lines.append(f"  other modules with a running_var: {found.other_running_stats}")
    for title, failures in (("lost", found.lost), ("failed before", found.failed_before)):
        lines += [f"  {title}: {name}: {error}" for name, error in list(failures.items())[:limit]]
    if found.leftovers:
        lines.append("  covered   norms  models  constructed at")
    for row in found.leftovers[:limit]:
        codes = f"  [{' '.join(row.findings)}]" if row.findings else ""
        at = f"{row.path}:{row.line}"
        lines.append(f"  {row.covered:8}  {row.norms:5}  {row.models:6}  {at}  {row.source}{codes}")
        if row.outside:
            lines.append(f"{'':26}by {row.outside}")
        if row.covered == "none":
            called = f"from {', '.join(row.callers)}, " if row.callers else ""
            lines.append(f"{'':26}{called}in {', '.join(row.examples)}")
    if len(found.leftovers) > limit:
        lines.append(f"  … and {len(found.leftovers) - limit} more lines")
    return "\n".join(lines)


def where(left: dict[str, int]) -> str:
    return (
        f"{left['line']} with an open finding at the line that constructs them,"
        f" {left['chain']} only at a caller's, {left['header']} only at the class or def,"
        f" {left['function']} only in the function, {left['none']} without one"
    )


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
