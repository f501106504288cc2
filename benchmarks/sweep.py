"""How fast a sweep is, as ratios within one run.

``python benchmarks/sweep.py [--sources DIR] [--rounds N] [--json FILE]``. DIR holds unpacked
packages (torchvision, timm, transformers); without it their wheels are downloaded from PyPI.
Compares, interleaved: bncodemod cold, ``rg -l BatchNorm`` (or grep), ruff with one rule and no
cache, and the same rewrite of direct calls as a plain LibCST codemod (on torchvision only).
Nothing is written to the sources. The exit code is always 0: goals are printed, not enforced.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from measure import Command, Timing, interleaved, peak_memory

HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = ("torchvision", "timm", "transformers")
CONSTRAINTS = HERE.parent / "constraints.txt"
WITHOUT_SITE = (
    '"""A module without a site."""\n\nimport os\n\n\ndef main():\n    return os.getcwd()\n'
)


@dataclass(frozen=True)
class Goal:
    """A measured figure and its bound."""

    what: str
    measured: float
    bound: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound

    def __str__(self) -> str:
        side = "least" if self.at_least else "most"
        verdict = "met   " if self.met else "MISSED"
        return f"{verdict} {self.what}: {self.measured:.3g} (at {side} {self.bound:g})"


def bncodemod(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "bncodemod", "--check", "--quiet", *arguments]


def libcst_codemod(*arguments: str) -> list[str]:
    return [sys.executable, str(HERE / "libcst_codemod.py"), *arguments]


# --- sources ----------------------------------------------------------------------------------


def download(folder: pathlib.Path) -> pathlib.Path:
    """The Python files of the wheels of PACKAGES."""
    wheels, sources = folder / "wheels", folder / "sources"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary",
        ":all:",
    ]
    subprocess.run([*pip, "-c", CONSTRAINTS, "-d", wheels, *PACKAGES], check=True)
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            members = [name for name in archive.namelist() if name.startswith(PACKAGES)]
            archive.extractall(sources, [name for name in members if name.endswith(".py")])
    return sources


def describe(sources: pathlib.Path) -> dict[str, Any]:
    data = [path.read_bytes() for path in sources.rglob("*.py")]
    return {
        "files": len(data),
        "megabytes": round(sum(map(len, data)) / 1e6, 1),
        "lines": sum(text.count(b"\n") for text in data),
        "files_with_BatchNorm": sum(b"BatchNorm" in text for text in data),
    }


# --- measurements -----------------------------------------------------------------------------


def tool(name: str) -> str | None:
    """A program of this environment, else of the path."""
    here = pathlib.Path(sys.executable).with_name(name)
    return str(here) if here.is_file() else shutil.which(name)


def text_search(folder: str) -> tuple[str, Command]:
    if rg := tool("rg"):
        return "rg -l BatchNorm", [rg, "-l", "BatchNorm", folder]
    return "grep -rl BatchNorm", ["grep", "-rl", "--include=*.py", "BatchNorm", folder]


def sweep(sources: pathlib.Path, jobs: int, rounds: int) -> tuple[dict[str, Timing], str]:
    """bncodemod, ruff and a text search over everything."""
    folder = str(sources)
    name, search = text_search(folder)
    commands: dict[str, Command] = {
        "bncodemod": bncodemod("--jobs", str(jobs), folder),
        "bncodemod --jobs 1": bncodemod("--jobs", "1", folder),
        name: search,
    }
    if ruff := tool("ruff"):
        rule = ["check", "--isolated", "--no-cache", "--select", "F401", "--quiet", folder]
        commands["ruff"] = [ruff, *rule]
    interleaved(commands, 1)  # fills the operating system's file cache
    return interleaved(commands, rounds), name


def against_libcst(sources: pathlib.Path, rounds: int, slow_rounds: int) -> dict[str, Timing]:
    """torchvision only; the codemod runs in one process, and so does bncodemod here."""
    folder = str(sources / "torchvision")
    timings = interleaved(
        {
            "bncodemod --jobs 1": bncodemod("--jobs", "1", folder),
            "LibCST, files with BatchNorm": libcst_codemod("--prefilter", folder),
        },
        min(rounds, 3),
    )
    timings |= interleaved({"LibCST, all files": libcst_codemod(folder)}, slow_rounds)
    return timings


def start_up(folder: pathlib.Path, rounds: int) -> dict[str, Timing]:
    """One file without a site, as pre-commit passes it."""
    (folder / "plain.py").write_text(WITHOUT_SITE)
    commands: dict[str, Command] = {
        "bncodemod, one file": bncodemod(str(folder / "plain.py")),
        "import click": [sys.executable, "-c", "import click"],
        "python -c pass": [sys.executable, "-c", "pass"],
    }
    return interleaved(commands, rounds)


def heavy_imports(folder: pathlib.Path) -> list[str]:
    """Which of libcst, rich and torch a run on that file imports."""
    program = (
        "import sys\n"
        "from bncodemod.cli import main\n"
        "try:\n    main(['--check', '--quiet', sys.argv[1]])\n"
        "except SystemExit:\n    pass\n"
        "print(*[n for n in ('libcst', 'rich', 'torch') if n in sys.modules])\n"
    )
    command = [sys.executable, "-c", program, str(folder / "plain.py")]
    done = subprocess.run(command, capture_output=True, text=True)
    return (done.stdout.splitlines() or [""])[-1].split()


# --- report -----------------------------------------------------------------------------------


def table(title: str, timings: dict[str, Timing], base: str) -> None:
    print(f"\n{title}")
    unit = timings[base].median
    for name, timing in timings.items():
        spread = f"{min(timing.seconds):.3f}-{max(timing.seconds):.3f}"
        ratio = f"{timing.median / unit:8.2f} x {base}"
        print(f"  {name:30} {timing.median:8.3f} s  ({spread}, n={len(timing.seconds)}) {ratio}")


def goals(
    whole: dict[str, Timing],
    search: str,
    slow: dict[str, Timing],
    starts: dict[str, Timing],
    memory: dict[str, float],
    heavy: Sequence[str],
) -> list[Goal]:
    own, codemod = whole["bncodemod"].median, slow["bncodemod --jobs 1"].median
    found: list[Goal] = []
    if "ruff" in whole:
        found.append(Goal("cold sweep, times ruff", own / whole["ruff"].median, 2))
    for name in ("LibCST, files with BatchNorm", "LibCST, all files"):
        times = slow[name].median / codemod
        found.append(Goal(f"torchvision, times faster than {name}", times, 40, at_least=True))
    click = starts["bncodemod, one file"].median / starts["import click"].median
    found.append(Goal("start-up, times import click", click, 2))
    found.append(Goal(f"heavy imports at start-up [{' '.join(heavy)}]", len(heavy), 0))
    if memory:
        found.append(Goal("MB in the largest process", max(memory.values()), 150))
    print(f"\nfloor: bncodemod takes {own / whole[search].median:.1f} x {search}")
    return found


def measure(options: argparse.Namespace, sources: pathlib.Path) -> dict[str, Any]:
    about = describe(sources)
    print(f"{sources}: {about}")
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} CPUs")
    whole, search = sweep(sources, options.jobs, options.rounds)
    table(f"whole tree, {options.jobs} jobs", whole, "bncodemod")
    slow = against_libcst(sources, options.rounds, options.slow_rounds)
    table("torchvision, one process", slow, "bncodemod --jobs 1")
    for name in ("LibCST, files with BatchNorm", "LibCST, all files"):
        print(f"  {name}: {slow[name].output.strip()}")
    with tempfile.TemporaryDirectory() as folder:
        starts = start_up(pathlib.Path(folder), options.start_rounds)
        heavy = heavy_imports(pathlib.Path(folder))
    table("start-up", starts, "import click")
    memory = peak_memory(bncodemod("--jobs", str(options.jobs), str(sources)))
    print("\npeak memory, MB: " + ", ".join(f"{name} {mb:.0f}" for name, mb in memory.items()))
    found = goals(whole, search, slow, starts, memory, heavy)
    print("goals")
    for goal in found:
        print(f"  {goal}")
    parts = {"whole": whole, "torchvision": slow, "start_up": starts}
    return {
        "sources": about,
        "seconds": {part: {n: t.seconds for n, t in ts.items()} for part, ts in parts.items()},
        "memory_mb": memory,
        "imports": list(heavy),
        "goals": [{**asdict(goal), "met": goal.met} for goal in found],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sources", type=pathlib.Path, metavar="DIR", help="unpacked packages")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default 5)")
    parser.add_argument(
        "--slow-rounds", type=int, default=1, help="of LibCST on all of torchvision"
    )
    parser.add_argument("--start-rounds", type=int, default=15, help="of the start-up (default 15)")
    parser.add_argument("--jobs", type=int, default=2, help="bncodemod's processes (default 2)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        sources = options.sources or download(pathlib.Path(temporary))
        figures = measure(options, sources.resolve())
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
