"""The figures to reach: each function says what was missed, in words; nothing is all reached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo import Report

# Of the norms with running stats that a package's own code constructs.
LEFT_AT_MOST = 0.005
SHAPE_PROBE = "BN308"
# Largest difference between vmap and the loop, relative to the largest output.
DIFFERENCE_AT_MOST = 1e-4
# torch's own limit: vmap over any GroupNorm whose input is channels_last in memory (torch 2.13).
CHANNELS_LAST = "querying is_contiguous inside of vmap for memory_format"


@dataclass(frozen=True)
class Figures:
    """What running a package's models has shown, for people, and what was missed."""

    lines: list[str]
    misses: list[str]


def built(found: Report) -> list[str]:
    """Nothing stops building; what is left is little, and has an open finding where it comes from.

    Norms of packages that were not rewritten may stay, but not without a finding in the copies.
    """
    name = f"{found.package}, {found.strategy}"
    misses = [f"{name}: file error: {e['path']}: {e['message']}" for e in found.errors]
    misses += [f"{name}: not built before: {m}: {e}" for m, e in found.failed_before.items()]
    misses += [f"{name}: no longer builds: {m}: {e}" for m, e in found.lost.items()]
    if not found.norms_before:
        misses.append(f"{name}: there was no norm with running stats before")
    # A constructor that runs the model on one image would raise: torchvision's ssdlite, 70 norms.
    would_break = sum(row.norms for row in found.leftovers if SHAPE_PROBE in row.findings)
    if found.left - would_break > LEFT_AT_MOST * found.norms_before:
        misses.append(f"{name}: {found.left} of {found.norms_before} norms are left")
    uncovered: Counter[str] = Counter()
    for row in found.leftovers:
        if row.covered == "none":
            uncovered[f"{row.path}:{row.line} {row.source}"] += row.norms
    misses += [f"{name}: {n} norms without an open finding at {at}" for at, n in uncovered.items()]
    if found.strategy == "group-norm":
        unexplained = set(found.opacus or {}) - set(found.models_with_norms_left)
        misses += [f"{name}: Opacus finds batch norm in {model}" for model in sorted(unexplained)]
    return misses


def outputs(package: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Figures:
    """no-running-stats: outputs and gradients are the same bits."""
    misses = [f"{package}: before: {n}: {r['failed']}" for n, r in before.items() if "failed" in r]
    misses += [f"{package}: after: {n}: {r['failed']}" for n, r in after.items() if "failed" in r]
    ran = [n for n in before if "failed" not in before[n] and "failed" not in after[n]]
    same = [n for n in ran if before[n]["digest"] == after[n]["digest"]]
    misses += [f"{package}: other outputs: {n}" for n in ran if n not in same]
    misses += [f"{package}: outputs not finite: {n}" for n in ran if not before[n]["finite"]]
    misses += [f"{package}: no batch norm to lose: {n}" for n in ran if not before[n]["tracked"]]
    cleaned = sum(after[n]["tracked"] == 0 for n in ran)
    line = (
        f"  {len(before)} models run in train mode, {len(same)} bit-identical,"
        f" {cleaned} of them without running stats now"
    )
    return Figures([line], misses)


def mapped(package: str, results: Mapping[str, Any], patched: Mapping[str, Any]) -> Figures:
    """group-norm: vmap equals the loop, and no GroupNorm's output is constant.

    A model in which batch norms are left, which has its open finding, is held to the last only;
    one that does not run under vmap with batch norms patched by torch.func, to that and no more.
    """
    misses = [f"{package}: {n}: {r['failed']}" for n, r in results.items() if "failed" in r]
    ran = {name: result for name, result in results.items() if "failed" not in result}
    clean = {name: result for name, result in ran.items() if not result["left"]}
    constant = {name: result["constant"] for name, result in ran.items() if result["constant"]}
    misses += [f"{package}: constant output of {names} in {n}" for n, names in constant.items()]
    excused = {n: patched[n]["error"] for n in clean if "error" in patched.get(n, {})}
    excused |= {n: r["error"] for n, r in clean.items() if CHANNELS_LAST in r.get("error", "")}
    for name, result in clean.items():
        if "error" in result:
            if name not in excused:
                misses.append(f"{package}: not under vmap: {name}: {result['error']}")
        elif result["difference"] > DIFFERENCE_AT_MOST:
            misses.append(f"{package}: not the loop: {name}: {result['difference']:.1e}")
        if not result["group_norms"]:
            misses.append(f"{package}: no GroupNorm ran in {name}")
    runs = sum("error" not in result for result in clean.values())
    lines = [
        f"  {len(results)} models, {len(clean)} without a batch norm, {runs} of them run under vmap"
        f" ({len(excused)} cannot, see below);"
        f" {sum(r['group_norms'] for r in ran.values())} GroupNorms ran,"
        f" {sum(map(len, constant.values()))} constant"
    ]
    lines += [f"  cannot run under vmap: {name}: {error}" for name, error in excused.items()]
    return Figures(lines, misses)
