"""The real command line on real packages: what it leaves behind, and what the models then do."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra 'test'")

import zoo_models

import zoo

pytestmark = pytest.mark.slow

TIMM_SAMPLE = 60
_NORM_ACT_ARGUMENT = re.compile(r"unexpected keyword argument '(?:apply_act|inplace|act_layer)'")
Rewrite = Callable[[str, str], zoo.Rewritten]


@pytest.fixture(scope="session")
def rewrite(tmp_path_factory: pytest.TempPathFactory) -> Rewrite:
    """Rewrites a copy of a package once per strategy."""
    done: dict[tuple[str, str], zoo.Rewritten] = {}

    def get(package: str, strategy: str) -> zoo.Rewritten:
        if (package, strategy) not in done:
            folder = tmp_path_factory.mktemp(f"{package}-{strategy}")
            done[package, strategy] = zoo.rewrite(package, strategy, folder)
        return done[package, strategy]

    return get


def publish(name: str, text: str) -> None:
    """Print the figures; $ZOO_REPORTS names a folder that keeps them."""
    print(text)
    if folder := os.environ.get("ZOO_REPORTS"):
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        (pathlib.Path(folder) / f"{name}.txt").write_text(f"{text}\n", encoding="utf-8")


@pytest.mark.parametrize("strategy", zoo.STRATEGIES)
def test_torchvision_whole(rewrite: Rewrite, strategy: str) -> None:
    """Every model still builds, and every norm left has an open finding where it comes from."""
    found = zoo.examine(rewrite("torchvision", strategy))
    publish(f"torchvision-{strategy}", zoo.text(found))
    assert found.errors == []
    assert found.models == found.registered
    assert found.built_before == found.models
    assert found.lost == {}
    assert found.built_after == found.models
    assert found.norms_before > 0
    assert [row for row in found.leftovers if row.covered == "none"] == []


@pytest.mark.parametrize("strategy", zoo.STRATEGIES)
def test_timm_sample(rewrite: Rewrite, strategy: str) -> None:
    """Every model of the sample still builds; what is left is listed, not yet forbidden.

    Under group-norm a factory may reach timm's get_norm_act_layer by way of another file, which
    one file does not show; that makes the whole of a model's failures.
    """
    found = zoo.examine(rewrite("timm", strategy), TIMM_SAMPLE)
    publish(f"timm-{strategy}", zoo.text(found))
    assert found.errors == []
    assert found.models == TIMM_SAMPLE
    assert found.built_before == found.models
    across_files = {m: e for m, e in found.lost.items() if _NORM_ACT_ARGUMENT.search(e)}
    assert found.lost == (across_files if strategy == "group-norm" else {})
    assert len(across_files) <= TIMM_SAMPLE // 20
    assert found.left < found.norms_before


@pytest.mark.parametrize("package", ["torchvision", "timm"])
def test_outputs_stay_bit_identical(rewrite: Rewrite, package: str) -> None:
    """no-running-stats: seeded train-mode outputs and gradients are the same bits."""
    copies = rewrite(package, "no-running-stats")
    models = zoo_models.BY_PACKAGE[package]
    assert len(models) >= 20
    before, after = run_models([copies.before, copies.after], package, "outputs", models)
    tracked = {name: (before[name]["tracked"], after[name]["tracked"]) for name in before}
    cleaned = sum(a == 0 < b for b, a in tracked.values())
    publish(
        f"{package}-outputs",
        f"{package}: {len(models)} models run in train mode,"
        f" {sum(before[n]['digest'] == after[n]['digest'] for n in before)} bit-identical,"
        f" {cleaned} of them without running stats now",
    )
    assert [name for name, result in before.items() if not result["finite"]] == []
    assert [n for n in before if before[n]["digest"] != after[n]["digest"]] == []
    assert cleaned == len(models) or package == "timm"


@pytest.mark.parametrize("package", ["torchvision", "timm"])
def test_group_norm_runs_under_vmap(rewrite: Rewrite, package: str) -> None:
    """group-norm: vmap runs and equals the loop, and no GroupNorm's output is constant.

    A model in which batch norms are left is held to the last only; torchvision has none.
    """
    copies = rewrite(package, "group-norm")
    models = zoo_models.BY_PACKAGE[package]
    (results,) = run_models([copies.after], package, "vmap", models)
    clean = {name: result for name, result in results.items() if not result["left"]}
    publish(
        f"{package}-vmap",
        f"{package}: {len(models)} models, {len(clean)} without a batch norm,"
        f" {sum('error' not in r for r in clean.values())} of these run under vmap;"
        f" {sum(r['group_norms'] for r in results.values())} GroupNorms ran,"
        f" {sum(len(r['constant']) for r in results.values())} constant",
    )
    assert {n: r["constant"] for n, r in results.items() if r["constant"]} == {}
    assert {n: r["error"] for n, r in clean.items() if "error" in r} == {}
    assert {n: r["difference"] for n, r in clean.items() if r["difference"] > 1e-4} == {}
    assert all(r["group_norms"] for r in clean.values())
    assert len(clean) == len(models) or package == "timm"


def test_the_sample_is_fixed_and_spread_over_families() -> None:
    families = {f"{family}_{size}": family for family in "abcdef" for size in range(5)}
    chosen = zoo.sample(families, 8)
    assert chosen == zoo.sample(dict(reversed(families.items())), 8)
    assert {families[name] for name in chosen} == set("abcdef")
    assert len(chosen) == len(set(chosen)) == 8


def test_a_norm_is_covered_only_by_an_open_finding_where_it_comes_from(
    tmp_path: pathlib.Path,
) -> None:
    finding = {"path": "p/a.py", "line": 4, "end_line": 5, "line_after": 6, "code": "BN101"}
    opened = zoo.OpenFindings([{**finding, "status": "open"}], tmp_path)
    (tmp_path / "p").mkdir()
    (tmp_path / "p/a.py").write_text("#\n" * 4 + "class A(\n    B,\n):\n    x = 1\n    y = 2\n")
    assert zoo.judge([["p/a.py", 7, 7]], opened) == ("line", ["BN101"])
    assert zoo.judge([["p/b.py", 7, 7], ["p/a.py", 5, 6]], opened) == ("chain", ["BN101"])
    assert zoo.judge([["p/a.py", 9, 9]], opened) == ("header", ["BN101", "BN101"])
    assert zoo.judge([["p/a.py", 10, 10], ["p/a.py", 4, 4]], opened) == ("none", [])
    body = "def f():\n    norm = 1\n\n\n\n    norm = 2\n    g(norm)\n\n\ndef h():\n    pass\n"
    (tmp_path / "p/a.py").write_text(body)
    opened = zoo.OpenFindings([{**finding, "status": "open"}], tmp_path)
    assert zoo.judge([["p/b.py", 1, 1], ["p/a.py", 5, 5]], opened) == ("function", ["BN101"] * 2)
    assert zoo.judge([["p/b.py", 1, 1], ["p/a.py", 11, 11]], opened) == ("none", [])
    rewritten = zoo.OpenFindings([{**finding, "status": "rewritten"}], tmp_path)
    assert zoo.judge([["p/a.py", 7, 7]], rewritten) == ("none", [])


def run_models(
    roots: list[pathlib.Path], package: str, mode: str, models: list[zoo_models.Model]
) -> list[dict[str, Any]]:
    """Run models of each copy, each copy in its own process, all at the same time."""
    running = []
    for root in roots:
        names = root.parent / f"{root.name}.{mode}.models.json"
        names.write_text(json.dumps(models))
        out = root.parent / f"{root.name}.{mode}.json"
        worker = str(pathlib.Path(zoo.__file__).with_name("zoo_run.py"))
        command = [sys.executable, worker, str(root), package, mode, str(out), str(names)]
        process = subprocess.Popen(
            command, env=zoo.environment(), stderr=subprocess.PIPE, text=True
        )
        running.append((process, out))
    results = [zoo.finished(process, out) for process, out in running]
    for found in results:
        failed = {n: r["failed"] for n, r in found.items() if "failed" in r}
        across_files = {n: e for n, e in failed.items() if _NORM_ACT_ARGUMENT.search(e)}
        assert failed == (across_files if (package, mode) == ("timm", "vmap") else {})
        for name in across_files:
            del found[name]
    return results
