"""What is found in the files of a project: in a sweep, and in a hook that names one of them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from bncodemod.model import Finding
from bncodemod.settings import Configuration, Settings
from bncodemod.sweep.run import sweep


def findings(folder: Path, settings: Settings, **files: str) -> dict[str, list[Finding]]:
    """What is found in each file of a project, which is rewritten; a hook says the same."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    configuration = Configuration(os.getcwd(), settings)
    alone = {
        name: [
            f
            for result in sweep([f"{name}.py"], configuration, write=False, jobs=1)
            for f in result.findings
        ]
        for name in files
    }
    found: dict[str, list[Finding]] = {name: [] for name in files}
    for result in sweep(["."], configuration, write=True, jobs=1):
        assert not result.errors
        found[Path(result.path).stem] += result.findings
    assert found == alone
    return found


def texts(folder: Path, names: Iterable[str]) -> dict[str, str]:
    return {name: (folder / f"{name}.py").read_text() for name in names}
