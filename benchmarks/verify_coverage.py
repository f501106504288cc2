"""How many of a package's rewritten lines are verified without any spec.

``python benchmarks/verify_coverage.py [--package timm] [--below layers models]`` copies an
installed package, rewrites the copy, verifies what was rewritten and prints, for each folder or
file below it, how many lines are verified. ``--checks`` names the checks, as for ``bncodemod
verify``; ``--list`` also prints the lines that are not verified, with the reason.
"""

from __future__ import annotations

import argparse
import pathlib
import tempfile
from collections import defaultdict
from collections.abc import Iterable

from verify_gpu import rewritten_copy

from bncodemod.verify import verify_paths
from bncodemod.verify.model import SiteResult, Verdict
from bncodemod.verify.options import Options, checks_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", default="timm")
    parser.add_argument("--below", nargs="+", default=["layers", "models"])
    parser.add_argument("--strategy", default="no-running-stats")
    parser.add_argument("--checks", default="meta-vmap")
    parser.add_argument("--examples", default="")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    chosen = Options(
        device="cpu", checks=checks_of(options.checks.split(",")), examples=options.examples
    )
    with tempfile.TemporaryDirectory() as folder:
        copy, results = rewritten_copy(options.package, pathlib.Path(folder), options.strategy)
        below = [copy / name for name in options.below]
        found = verify_paths(below, chosen, rewritten=results)
        for path in below:
            sites = [r for r in found.sites if pathlib.Path(r.site.path).is_relative_to(path)]
            print(f"{options.package}/{path.relative_to(copy)}: {coverage(sites)}")
        print(f"all: {coverage(found.sites)}; {found.seconds['examine']:.0f} s")
    if options.list:
        for result in found.sites:
            if result.verdict is not Verdict.VERIFIED:
                print(missed(result))


def coverage(sites: Iterable[SiteResult]) -> str:
    """Verified lines among all: a line is verified if all that it makes norms with is."""
    lines: dict[tuple[str, int], list[bool]] = defaultdict(list)
    for result in sites:
        place = result.site.path, result.site.line
        lines[place].append(result.verdict is Verdict.VERIFIED)
    verified = sum(map(all, lines.values()))
    share = 100.0 * verified / len(lines) if lines else 100.0
    return f"{verified} of {len(lines)} lines verified ({share:.1f} %)"


def missed(result: SiteResult) -> str:
    """A site that is not verified, in one line."""
    why = result.failure.message if result.failure is not None else result.reason
    return f"{result.site.path}:{result.site.line}: {result.verdict.value}: {why}"


if __name__ == "__main__":
    main()
