"""What every fixture builds, before it is rewritten and after."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bncodemod.model import Status
from fixture_cases import FIXTURES, OF_SOURCE, RUNNABLE, decode, output, rewritten, source

# The modules that the cases become.
NAMES = {case: re.sub(r"\W", "_", case) for case in RUNNABLE}


@cache
def probed(mode: str | None) -> dict[str, Any]:
    """What each case builds, rewritten in that mode or, for None, as it is given.

    Cases of which no byte changes have run already.
    """
    if mode is None:
        return probe({case: source(case) for case in RUNNABLE})
    changed = [case for case in RUNNABLE if rewritten(case, mode).after is not None]
    return {**probed(None), **probe({case: output(case, mode) for case in changed})}


def probe(sources: dict[str, bytes]) -> dict[str, Any]:
    """What ``fixtures/probe.py`` says of these, from a process and a folder of their own.

    Some of them save checkpoints.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = {NAMES[case]: Path(folder) / f"{NAMES[case]}.py" for case in sources}
        for case, data in sources.items():
            paths[NAMES[case]].write_bytes(data)
        process = subprocess.run(
            [sys.executable, str(FIXTURES / "probe.py")],
            input=json.dumps({name: str(path) for name, path in paths.items()}),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(FIXTURES.parent), "PYTHONDONTWRITEBYTECODE": "1"},
        )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)  # type: ignore[no-any-return]


def groups_by_the_rule(channels: int) -> int:
    """The largest divisor that is at most 32 and leaves 4 channels a group, else 1."""
    return max(g for g in range(1, 33) if channels % g == 0 and (g == 1 or channels // g >= 4))


def norm_complaints(before: list[Any], after: list[Any], mode: str) -> Iterator[str]:
    """What is wrong with a norm of the rewritten program, beside the one it was."""
    kind, channels, eps, affine, momentum, _, tracked = before
    kind_after, channels_after, eps_after, affine_after, momentum_after, groups, tracks = after
    if tracks and not tracked:
        yield f"{kind} did not keep running stats and now does"
    if (channels, affine) != (channels_after, affine_after):
        yield f"{before} became {after}"
    if kind == kind_after:
        if (eps, momentum) != (eps_after, momentum_after) and kind != "GroupNorm":
            yield f"{before} became {after}"
    elif kind_after != "GroupNorm" or "group-norm" not in mode:
        yield f"{kind} became {kind_after}"
    elif eps != eps_after and eps < 1:  # eps ≥ 1 is the page's mistake: groups in eps' place
        yield f"{kind} had eps {eps}, GroupNorm has {eps_after}"
    elif eps < 1 and groups != groups_by_the_rule(channels):
        yield f"{channels} channels in {groups} groups"


def complaints(case: str, mode: str, old: Any, new: Any) -> Iterator[str]:
    """What the rewrite of a case broke or missed, by the probe's reports before and after."""
    unhandled = {
        finding.code
        for finding in rewritten(case, mode).findings
        if finding.status in (Status.OPEN, Status.IGNORED)
        or finding.message.startswith(("auto: ", "left: "))
    }
    warned = any(code.startswith("BN3") for code in unhandled)  # that it does not run as before
    if new["error"] and not warned:
        yield f"import: {new['error']}"
    for key, built in old["built"].items():
        found = new["built"].get(key, {"error": "it is gone", "norms": []})
        left = any(tracks for *_, tracks in found["norms"])
        if left and not unhandled - {"BN001"} and "skip-file" not in decode(source(case)):
            yield f"{key}: running stats are left and nothing says so"
        if built["error"] or new["error"] or warned:
            continue
        if found["error"]:
            yield f"{key}: {found['error']}"
        elif len(found["norms"]) != len(built["norms"]):
            yield f"{key}: another number of norms"
        else:
            for pair in zip(built["norms"], found["norms"], strict=True):
                yield from (f"{key}: {text}" for text in norm_complaints(*pair, mode))


@pytest.mark.parametrize("mode", [*OF_SOURCE, "keep-statistics", "eval-mode"])
def test_what_ran_before_runs_after(mode: str) -> None:
    """Imports still import, what built still builds, with the same norms in the same order.

    And no silent miss: where a norm still keeps running stats, the file has an open finding.
    """
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed: the fixtures cannot run")
    before, after = probed(None), probed(mode)
    imported = {case: name for case, name in NAMES.items() if before[name]["error"] is None}
    assert len(imported) > 0.8 * len(NAMES)
    wrong = [
        f"{case}: {text}"
        for case, name in imported.items()
        for text in complaints(case, mode, before[name], after[name])
    ]
    assert not wrong, "\n".join(wrong)
