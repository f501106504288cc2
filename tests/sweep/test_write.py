"""A write puts the new bytes in place wholly or leaves the old, and no litter."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bncodemod.source.errors import Unwritable
from bncodemod.sweep.write import replace

OLD = b"old\r\n"
NEW = b"\xef\xbb\xbfnew \xe9"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x.py"
    path.write_bytes(OLD)
    return path


def refused(path: Path, before: bytes = OLD) -> str:
    names = sorted(os.listdir(path.parent))
    content = path.read_bytes()
    with pytest.raises(Unwritable) as caught:
        replace(path, before, NEW)
    assert caught.value.remedy
    assert path.read_bytes() == content
    assert sorted(os.listdir(path.parent)) == names
    return caught.value.message


def test_content(file: Path) -> None:
    replace(file, OLD, NEW)
    assert file.read_bytes() == NEW
    assert os.listdir(file.parent) == ["x.py"]


@pytest.mark.parametrize("mode", [0o644, 0o755, 0o600, 0o4755, 0o666])
def test_mode_is_kept(file: Path, mode: int) -> None:
    file.chmod(mode)
    before = os.umask(0o077)
    try:
        replace(file, OLD, NEW)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_owner_is_kept(file: Path) -> None:
    os.chown(file, 1234, 4321)
    replace(file, OLD, NEW)
    assert (file.stat().st_uid, file.stat().st_gid) == (1234, 4321)


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="no extended attributes here")
def test_extended_attributes_are_kept(file: Path) -> None:
    try:
        os.setxattr(file, "user.origin", b"somewhere")
    except OSError:
        pytest.skip("the file system has no extended attributes")
    replace(file, OLD, NEW)
    assert os.getxattr(file, "user.origin") == b"somewhere"


def test_link_stays_a_link(file: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    link = tmp_path / "a/link.py"
    link.symlink_to("../second.py")
    (tmp_path / "second.py").symlink_to(file)
    replace(link, OLD, NEW)
    assert file.read_bytes() == NEW
    assert not file.is_symlink()
    assert os.readlink(link) == "../second.py"
    assert os.listdir(tmp_path / "a") == ["link.py"]


def test_hard_link_is_refused(file: Path, tmp_path: Path) -> None:
    os.link(file, tmp_path / "y.py")
    assert "2 hard links" in refused(file)


@pytest.mark.parametrize("now", [b"", b"old\n", OLD + OLD])
def test_changed_meanwhile_is_refused(file: Path, now: bytes) -> None:
    file.write_bytes(now)
    assert "changed while bncodemod ran" in refused(file)


def test_removed_meanwhile(file: Path) -> None:
    file.unlink()
    with pytest.raises(Unwritable, match="No such file"):
        replace(file, OLD, NEW)
    assert os.listdir(file.parent) == []


def test_long_name(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 252 + ".py")
    path.write_bytes(OLD)
    replace(path, OLD, NEW)
    assert path.read_bytes() == NEW


def test_read_only_file(open_tree: Path, unprivileged: None) -> None:
    path = open_tree / "x.py"
    path.write_bytes(OLD)
    path.chmod(0o444)
    assert "read-only" in refused(path)


def test_read_only_folder(open_tree: Path, unprivileged: None) -> None:
    (open_tree / "a").mkdir()
    path = open_tree / "a/x.py"
    path.write_bytes(OLD)
    path.parent.chmod(0o555)
    try:
        assert "Permission denied" in refused(path)
    finally:
        path.parent.chmod(0o755)


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow beyond two bytes: the write fails halfway, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_write_that_fails_halfway(file: Path) -> None:
    with full_disk():
        message = refused(file)
    assert message == "File too large"


ENDLESS = """
import sys
from bncodemod.sweep.write import replace
path, old, new = sys.argv[1], b"o" * 100_000, b"n" * 100_000
print(flush=True)
while True:
    replace(path, old, new)
    old, new = new, old
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_at_any_moment(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "x.py"
    for attempt in range(6):
        path.write_bytes(b"o" * 100_000)
        process = subprocess.Popen(
            [sys.executable, "-c", ENDLESS, path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdout
        process.stdout.readline()
        time.sleep(0.003 * attempt)
        process.send_signal(number)
        process.communicate(timeout=60)
        assert path.read_bytes() in (b"o" * 100_000, b"n" * 100_000)
        if number is signal.SIGINT:
            assert os.listdir(tmp_path) == ["x.py"]
