"""Bad input, one file of each kind beside good ones, through the real command line.

Each must end in one clear line that names path, line, cause and remedy; the exit code is 2, and
every other file is done.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SITE = b"from torch import nn\n\nnorm = nn.BatchNorm2d(64)\n"
DONE = b"from torch import nn\n\nnorm = nn.BatchNorm2d(64, track_running_stats=False)\n"
IMPORT = b"from torch import nn\n"


def bncodemod(*arguments: str, **keywords: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "bncodemod", *arguments],
        capture_output=True,
        check=False,
        timeout=120,
        **keywords,
    )


def deep(opening: bytes, closing: bytes) -> bytes:
    return IMPORT + b"x = nn.BatchNorm2d(" + opening * 5000 + b"1" + closing * 5000 + b")\n"


# A type alias and an f-string as Python 3.12 has them.
NEWER = b"type Pair[T] = tuple[T, T]\nf'{'a' + f'{1}'}'\n"

CONTENTS: dict[str, tuple[bytes, str, int]] = {
    "not Python": (b"<html>\n<p>BatchNorm2d</p>\n</html>\n", "BN901", 1),
    "Python 2": (IMPORT + b"print nn.BatchNorm2d(3)\n", "BN901", 2),
    "half a file": (IMPORT + b"x = nn.BatchNorm2d(3\n", "BN901", 2),
    "NUL byte": (IMPORT + b"x = nn.BatchNorm2d(3)\n\0\n", "BN903", 3),
    "unknown coding cookie": (b"# coding: klingon\n" + SITE, "BN903", 1),
    "wrong coding cookie": (b"# coding: ascii\n" + SITE + b"# \xe9\n", "BN903", 5),
    "not UTF-8": (SITE + b"# \xe9\n", "BN903", 4),
    "nested parentheses": (deep(b"(", b")"), "BN904", 2),
    "nested lists": (deep(b"[", b"]"), "BN904", 2),
    "nested calls": (deep(b"f(", b")"), "BN904", 2),
    "minus signs": (IMPORT + b"x = nn.BatchNorm2d(" + b"-" * 20000 + b"1)\n", "BN904", 2),
}

if sys.version_info < (3, 12):
    CONTENTS["syntax newer than the interpreter"] = (NEWER + SITE, "BN901", 1)


@pytest.fixture(autouse=True)
def good_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a.py", "z.py"):
        (tmp_path / name).write_bytes(SITE)
    return tmp_path


def check(root: Path, path: str, code: str, line: int | None) -> None:
    """The sweep names ``path`` with ``code`` at ``line`` and does the good files."""
    before = (root / path).read_bytes() if (root / path).is_file() else None
    shown = bncodemod("--format", "json", "--diff", ".", path if path == "missing.py" else ".")
    report = json.loads(shown.stdout)
    assert [(e["path"], e["code"]) for e in report["errors"]] == [(path, code)]
    (error,) = report["errors"]
    assert line is None or error["line"] == line
    assert error["message"]
    assert error["remedy"]
    assert "\n" not in error["message"] + error["remedy"]

    done = bncodemod(".", path if path == "missing.py" else ".")
    output = done.stdout.decode()
    assert done.returncode == shown.returncode == 2
    assert [text for text in output.splitlines() if code in text and text.startswith(path)]
    assert error["message"] in output
    assert error["remedy"] in output
    assert "Traceback" not in output
    assert done.stderr == b""
    assert (root / "a.py").read_bytes() == (root / "z.py").read_bytes() == DONE
    assert before is None or (root / path).read_bytes() == before
    assert not [name for name in os.listdir(root) if name.startswith(".bncodemod")]


@pytest.mark.parametrize("kind", CONTENTS)
def test_content(good_files: Path, kind: str) -> None:
    content, code, line = CONTENTS[kind]
    (good_files / "bad.py").write_bytes(content)
    check(good_files, "bad.py", code, line)


@pytest.mark.parametrize(
    "expression",
    [b"nn.BatchNorm2d(3)" + b".f()" * 5000, b"nn.BatchNorm2d(1" + b" + 1" * 5000 + b")"],
    ids=["calls", "sum"],
)
def test_long_chain(good_files: Path, expression: bytes) -> None:
    """Some versions of Python follow these, and then LibCST may take minutes."""
    (good_files / "bad.py").write_bytes(IMPORT + b"x = " + expression + b"\n")
    if bncodemod("bad.py").returncode == 0:
        assert b"track_running_stats" in (good_files / "bad.py").read_bytes()
    else:
        check(good_files, "bad.py", "BN904", 2)


PLACES: dict[str, Callable[[], None]] = {
    "broken symbolic link": lambda: os.symlink("nowhere", "bad.py"),
    "symbolic links in a circle": lambda: os.symlink("bad.py", "bad.py"),
    "named pipe": lambda: os.mkfifo("bad.py"),
}


@pytest.mark.parametrize("kind", PLACES)
def test_place(good_files: Path, kind: str) -> None:
    PLACES[kind]()
    check(good_files, "bad.py", "BN902", None)


def test_path_that_does_not_exist(good_files: Path) -> None:
    check(good_files, "missing.py", "BN902", None)


def test_unreadable_file(good_files: Path) -> None:
    (good_files / "bad.py").write_bytes(SITE)
    (good_files / "bad.py").chmod(0)
    if os.access("bad.py", os.R_OK):
        pytest.skip("nothing is unreadable for root; tests/sweep does this as another user")
    check(good_files, "bad.py", "BN902", None)


def test_generated_file_of_10_megabytes(good_files: Path) -> None:
    rows = b"".join(b"    %-96d,\n" % n for n in range(100_000))
    (good_files / "bad.py").write_bytes(b"rows = [\n" + rows + b"]\n" + SITE)
    check(good_files, "bad.py", "BN904", None)


def test_wrong_configuration_of_a_folder_stops_the_run_before_it_writes(good_files: Path) -> None:
    (good_files / "sub").mkdir()
    (good_files / "sub" / "pyproject.toml").write_text("[tool.bncodemod]\nstratgy = 1\n")
    (good_files / "sub" / "b.py").write_bytes(SITE)
    done = bncodemod(".")
    assert done.returncode == 2
    assert b"stratgy" in done.stderr
    assert b"strategy" in done.stderr
    assert (good_files / "a.py").read_bytes() == SITE


def test_several_at_once(good_files: Path) -> None:
    for number, (content, _, _) in enumerate(CONTENTS.values()):
        (good_files / f"bad{number:02}.py").write_bytes(content)
    done = bncodemod(".")
    assert done.returncode == 2
    assert done.stderr == b""
    lines = done.stdout.decode().splitlines()
    for number, (_, code, line) in enumerate(CONTENTS.values()):
        place = f"bad{number:02}.py:{line} {code} "
        assert len([text for text in lines if text.startswith(place)]) == 1
    assert (good_files / "a.py").read_bytes() == (good_files / "z.py").read_bytes() == DONE


class TestNoError:
    """What only looks bad."""

    def check(self, root: Path) -> None:
        done = bncodemod(".")
        assert (done.returncode, done.stderr) == (0, b"")
        assert (root / "a.py").read_bytes() == (root / "z.py").read_bytes() == DONE

    def test_empty_file(self, good_files: Path) -> None:
        (good_files / "empty.py").touch()
        self.check(good_files)

    def test_folder_loop(self, good_files: Path) -> None:
        (good_files / "sub").mkdir()
        os.symlink("..", "sub/loop")
        self.check(good_files)

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="its syntax is that of Python 3.12")
    def test_syntax_of_python_3_12(self, good_files: Path) -> None:
        (good_files / "newer.py").write_bytes(NEWER + SITE)
        self.check(good_files)
        assert (good_files / "newer.py").read_bytes() == NEWER + DONE
