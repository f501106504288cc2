"""What tests of the sweep share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def open_tree(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, new and empty: any user may enter and write, unlike ``tmp_path``."""
    folder = tempfile.mkdtemp()
    os.chmod(folder, 0o777)
    monkeypatch.chdir(folder)
    yield Path(folder)
    shutil.rmtree(folder)


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """Permissions hold: root, whom nothing stops, becomes another user for the test."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
