"""The real command line on real packages: what it leaves behind, and what the models then do."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable

import pytest

pytest.importorskip("torch", reason="needs the extra 'test'")

import zoo_figures
import zoo_models
import zoo_report
from zoo_leftovers import OpenFindings, judge

import zoo

pytestmark = pytest.mark.slow

# How many models are built and run here; ``python tests/zoo/zoo.py all`` builds and runs all.
BUILD = {
    "torchvision": None,
    "timm": 24,
    "pytorchcv": 16,
    "smp": 12,
    "smp+timm+torchvision": 6,
    "monai": None,
}
RUN = 4
Rewrite = Callable[[str, str], zoo.Rewritten]


@pytest.fixture(scope="session", params=BUILD)
def package(request: pytest.FixtureRequest) -> str:
    """The tests of one package run one after the other, in one worker: it is rewritten once."""
    return str(request.param)


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


def test_models_build_and_what_is_left_is_reported(rewrite: Rewrite, package: str) -> None:
    """With both strategies every model still builds, and next to no running stats are left."""
    misses = []
    for strategy in zoo.STRATEGIES:
        found = zoo.examine(rewrite(package, strategy), BUILD[package])
        publish(f"{package}-{strategy}", zoo_report.text(found))
        assert found.models == (BUILD[package] or found.registered)
        misses += zoo_figures.built(found)
    assert misses == []


def test_outputs_stay_bit_identical(rewrite: Rewrite, package: str) -> None:
    """no-running-stats: seeded train-mode outputs and gradients are the same bits."""
    copies = rewrite(package, "no-running-stats")
    ran = zoo.outputs(copies, zoo.small_models(package, RUN))
    publish(f"{package}-outputs", "\n".join([package, *ran.lines]))
    assert ran.misses == []


def test_group_norm_runs_under_vmap(rewrite: Rewrite, package: str) -> None:
    """group-norm: vmap runs and equals the loop, and no GroupNorm's output is constant."""
    copies = rewrite(package, "group-norm")
    ran = zoo.mapped(copies, zoo.small_models(package, RUN))
    publish(f"{package}-vmap", "\n".join([package, *ran.lines]))
    assert ran.misses == []


def test_a_hundred_models_are_run() -> None:
    assert sum(map(len, zoo_models.BY_PACKAGE.values())) >= 100
    assert zoo_models.BY_PACKAGE.keys() == zoo.PACKAGES.keys()


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
    opened = OpenFindings([{**finding, "status": "open"}], tmp_path)
    (tmp_path / "p").mkdir()
    (tmp_path / "p/a.py").write_text("#\n" * 4 + "class A(\n    B,\n):\n    x = 1\n    y = 2\n")
    assert judge([["p/a.py", 7, 7]], opened) == ("line", ["BN101"])
    assert judge([["p/b.py", 7, 7], ["p/a.py", 5, 6]], opened) == ("chain", ["BN101"])
    assert judge([["p/a.py", 9, 9]], opened) == ("header", ["BN101", "BN101"])
    assert judge([["p/a.py", 10, 10], ["p/a.py", 4, 4]], opened) == ("none", [])
    body = "def f():\n    norm = 1\n\n\n\n    norm = 2\n    g(norm)\n\n\ndef h():\n    pass\n"
    (tmp_path / "p/a.py").write_text(body)
    opened = OpenFindings([{**finding, "status": "open"}], tmp_path)
    assert judge([["p/b.py", 1, 1], ["p/a.py", 5, 5]], opened) == (
        "function",
        ["BN101"] * 2,
    )
    assert judge([["p/b.py", 1, 1], ["p/a.py", 11, 11]], opened) == ("none", [])
    rewritten = OpenFindings([{**finding, "status": "rewritten"}], tmp_path)
    assert judge([["p/a.py", 7, 7]], rewritten) == ("none", [])
