"""The sources as they stood before, from git and from a rewrite."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bncodemod.settings import ConfigurationError
from bncodemod.verify.originals import from_git, mirror


def git(folder: Path, *arguments: str) -> None:
    options = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *options, *arguments], cwd=folder, check=True, capture_output=True)


def test_from_git(tmp_path: Path) -> None:
    git(tmp_path, "init")
    (tmp_path / "pkg").mkdir()
    names = ("kept.py", "ä b.py", "new.py", "gone.py")
    kept, changed, new, gone = (tmp_path / "pkg" / name for name in names)
    kept.write_bytes(b"a\r\n")
    gone.write_bytes(b"gone")
    changed.write_bytes(b"old\r\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-m", "x")
    changed.write_bytes(b"now")
    gone.unlink()
    new.write_bytes(b"new")
    then = {str(changed): b"old\r\n", str(new): None, str(gone): b"gone"}
    assert from_git([str(kept)], "HEAD") == then
    with pytest.raises(ConfigurationError, match="no revision nowhere"):
        from_git([str(kept)], "nowhere")


def test_from_no_repository(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("")
    with pytest.raises(ConfigurationError, match="--against needs a git repository"):
        from_git([str(tmp_path / "a.py")], "HEAD")


def test_mirror(tmp_path: Path) -> None:
    root, folder = tmp_path / "root", tmp_path / "copies"
    folder.mkdir()
    for name in ("pkg/net.py", "pkg/new.py", "pkg/data.json", "other/x.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"now {name}")
    originals = {
        str(root / "pkg/net.py"): b"then",
        str(root / "pkg/new.py"): None,
        str(tmp_path / "elsewhere.py"): b"",
        str(root / "gone" / "x.py"): b"gone",
    }
    copy = Path(mirror(str(root), originals, str(folder)))
    found = {p.relative_to(copy).as_posix(): p.read_text() for p in copy.glob("*/*")}
    assert found == {
        "pkg/net.py": "then",
        "pkg/data.json": "now pkg/data.json",
        "other/x.py": "now other/x.py",
        "gone/x.py": "gone",
    }
    assert (copy / "other").is_symlink()
    assert (root / "pkg/net.py").read_text() == "now pkg/net.py"
    assert mirror(str(root), originals, str(folder)) != str(copy)
