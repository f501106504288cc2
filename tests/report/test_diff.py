"""Diffs must be patches: what git makes of them is the file as it would be written."""

from __future__ import annotations

import subprocess
from pathlib import Path
from random import Random

import pytest

from bncodemod.model import FileResult
from bncodemod.report.diff import unified

LINES = [b"line %d" % number for number in range(30)]


def joined(lines: list[bytes], ending: bytes = b"\n") -> bytes:
    return ending.join(lines) + ending


def changed(lines: list[bytes]) -> list[bytes]:
    return [b"import torch", *lines[:20], b"changed", *lines[21:]]


CASES = [
    pytest.param(joined(LINES), joined(changed(LINES)), id="LF"),
    pytest.param(joined(LINES, b"\r\n"), joined(changed(LINES), b"\r\n"), id="CRLF"),
    pytest.param(joined(LINES)[:-1], joined(changed(LINES))[:-1], id="no final newline"),
    pytest.param(b"a", b"b", id="one line without end"),
    pytest.param(b"a\n\x0cb\n", b"a\n\x0cc\n", id="form feed"),
    pytest.param(b"a\rb\rc\r", b"a\rB\rc\r", id="CR"),
    pytest.param(
        b"# coding: latin-1\n# \xe9\n1\n", b"# coding: latin-1\n# \xe9\n2\n", id="latin-1"
    ),
    pytest.param(b"\xef\xbb\xbfa\n", b"\xef\xbb\xbfimport x\na\n", id="byte order mark"),
]


@pytest.mark.parametrize(("before", "after"), CASES)
@pytest.mark.parametrize(
    "tool", [["git", "apply"], ["patch", "-p1", "--binary"]], ids=["git", "patch"]
)
def test_the_diff_is_a_patch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bytes, after: bytes, tool: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_applies(tmp_path / "a.py", "a.py", before, after, tool)


@pytest.mark.parametrize(
    "name", ["with space.py", 'quote".py', "tab\t.py", "ümlaut.py", "back\\slash.py"]
)
def test_odd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert_applies(tmp_path / "sub" / name, f"sub/{name}", b"a\n", b"b\n", ["git", "apply"])


def test_a_file_elsewhere_is_named_from_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    header = next(unified(FileResult("../a.py", b"a\n", b"b\n")))
    assert header == b"--- a" + bytes(tmp_path / "a.py") + b"\n"


@pytest.mark.parametrize("seed", range(40))
def test_any_change_is_a_patch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.chdir(tmp_path)
    random = Random(seed)
    before = [
        random.choice([b"a\n", b"b\n", b"\n", b"%d\n" % n]) for n in range(random.randint(1, 600))
    ]
    after = list(before)
    for _ in range(random.randint(1, 12)):
        start = random.randint(0, len(after))
        new = [b"a\n"] * random.choice([0, 1, 2, 300])
        after[start : start + random.choice([0, 1, 2, 300])] = new
    joined_before, joined_after = b"".join(before), b"".join(after)
    cut = random.choice([0, 1])
    assert_applies(
        tmp_path / "a.py",
        "a.py",
        joined_before[: len(joined_before) - cut],
        joined_after + b"last" * random.choice([0, 1]),
        ["git", "apply"],
    )


def test_only_what_changed_is_marked() -> None:
    before = [b"conv%d\nnorm\nrelu\n" % number for number in range(3)]
    after = [text.replace(b"norm\n", b"new\n") for text in before]
    after.insert(0, b"import x\nimport z\n")
    lines = list(unified(FileResult("a.py", b"".join(before), b"".join(after))))
    marked = [line for line in lines[3:] if line[:1] in b"+-"]
    assert marked == [b"+import x\n", b"+import z\n", *[b"-norm\n", b"+new\n"] * 3]


def test_a_large_generated_file() -> None:
    before = b"x = f(8)\ny = g(9)\n" * 100_000
    diff = list(unified(FileResult("a.py", before, b"import z\n" + before.replace(b"8", b"7"))))
    assert sum(line.startswith(b"-x") for line in diff) == 100_000


def test_nothing_changes() -> None:
    assert list(unified(FileResult("a.py", b"a\n"))) == []
    assert list(unified(FileResult("a.py", b"a\n", b"a\n"))) == []


def assert_applies(file: Path, name: str, before: bytes, after: bytes, tool: list[str]) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(before)
    patch = b"".join(unified(FileResult(name, before, after)))
    done = subprocess.run(tool, input=patch, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert file.read_bytes() == after
