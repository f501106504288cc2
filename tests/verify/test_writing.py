"""What a user's code does to files while it is verified leaves them as they were."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from examined import Examined, examined

from bncodemod.verify.model import Check, Noted

BUILD = """\
import io, os, pickle, pathlib, shutil, subprocess, sys, tempfile
import numpy
import safetensors.torch
def build():
    {}
    return nn.Sequential(nn.Conv2d(3, 8, 3), ⟪nn.BatchNorm2d(8, track_running_stats=False)⟫)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with files that are dear to someone."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for name in ("kept", "kept.npy", "runs/best"):
        (tmp_path / name).write_text("precious")
    return tmp_path


def files(folder: Path) -> dict[str, str]:
    """All below a folder; what is read is not looked at where it is the source itself."""
    found = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*"))}
    own = (name for name in found if "examined_" not in name and "__pycache__" not in name)
    return {name: found[name].read_text() if found[name].is_file() else "" for name in own}


def notes(found: Examined) -> list[str]:
    return [event.text for event in found.events if isinstance(event, Noted)]


def built_with(folder: Path, *lines: str) -> Examined:
    text = BUILD.format("\n    ".join(lines))
    return examined(folder, text, checks=frozenset({Check.META_VMAP}))


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("open('kept', 'w').write('x')", "kept"),
        ("open('kept', mode='a').write('x')", "kept"),
        ("open(b'kept', 'r+').write('x')", "kept"),
        ("open('new', 'x').write('x')", "new"),
        ("io.open(os.path.abspath('kept'), 'wb').close()", "kept"),
        ("pathlib.Path('runs/best').write_text('x')", "runs/best"),
        ("pathlib.Path('runs/new').write_bytes(b'x')", "runs/new"),
        ("pickle.dump({}, open('kept', 'wb'))", "kept"),
        ("torch.save({'a': torch.ones(2)}, 'kept')", "kept"),
        ("torch.save({}, pathlib.Path('runs') / 'new')", "runs/new"),
        ("torch.save({}, 'kept', _use_new_zipfile_serialization=False)", "kept"),
        ("torch.jit.script(nn.ReLU()).save('kept')", "kept"),
        ("torch.jit.save(torch.jit.script(nn.ReLU()), 'kept')", "kept"),
        ("numpy.save('kept', numpy.ones(2))", "kept.npy"),
        (
            "safetensors.torch.save_file({'a': torch.ones(2, device='cpu')}, 'runs/best')",
            "runs/best",
        ),
    ],
)
def test_what_is_written_is_not_kept(folder: Path, line: str, name: str) -> None:
    before = files(folder)
    found = built_with(folder, line)
    assert found.of("build").error == ""
    assert notes(found) == [f"what it wrote was not kept: {name}"]
    assert files(folder) == before


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("os.remove('kept')", "remove kept"),
        ("pathlib.Path('kept').unlink()", "remove kept"),
        ("shutil.rmtree('runs')", "remove runs"),
        ("shutil.rmtree('runs', ignore_errors=True)", "remove runs"),
        ("os.rename('kept', 'lost')", "change kept"),
        ("os.replace(tempfile.mkstemp()[1], 'kept')", "change kept"),
        ("os.truncate('kept', 0)", "change kept"),
        ("os.open('kept', os.O_WRONLY | os.O_TRUNC)", "write kept"),
        ("os.symlink('kept', 'new')", "change new"),
        ("io.FileIO('kept', 'w')", "write kept"),
        ("os.system('rm -rf runs')", "run `rm -rf runs`"),
        ("os.system('echo x > kept')", "run `echo x > kept`"),
        ("subprocess.run('cd runs; rm best', shell=True)", "run `/bin/sh -c cd runs; rm best`"),
        ("subprocess.run(['cp', 'kept', 'new'])", "run `cp kept new`"),
        ("subprocess.run([sys.executable, '-m', 'pip', 'list'])", "-m pip list`"),
    ],
)
def test_what_takes_files_away_is_refused(folder: Path, line: str, what: str) -> None:
    before = files(folder)
    found = built_with(folder, line)
    assert "ChangesFiles: the verifier does not let it" in found.of("build").error
    assert what in found.of("build").error
    assert what in notes(found)[0]
    assert files(folder) == before


@pytest.mark.parametrize(
    "lines",
    [
        ["open('kept', 'w').write('new')", "assert open('kept').read() == 'new'"],
        ["open('kept', 'a').write('!')", "assert open('kept').read() == 'precious!'"],
        ["torch.save({'a': 3}, 'kept')", "assert torch.load('kept') == {'a': 3}"],
        ["try: open('kept', 'x')", "except FileExistsError: pass"],
        ["try: open('nowhere/kept', 'w')", "except FileNotFoundError: pass"],
        ["try: os.remove('kept')", "except OSError: pass"],
        ["os.makedirs('runs/a/b')", "assert os.path.isdir('runs/a/b')"],
        ["os.makedirs('runs', exist_ok=True)", "pathlib.Path('new').mkdir(exist_ok=True)"],
        ["with tempfile.TemporaryDirectory() as f:", "    open(f + '/x', 'w').write('y')"],
        ["f = tempfile.mkstemp()[1]", "os.rename(f, f + '1')", "os.remove(f + '1')"],
        ["shutil.rmtree(tempfile.mkdtemp())"],
        ["shutil.rmtree('nowhere', ignore_errors=True)"],
        ["try: os.rename('nowhere', 'kept')", "except FileNotFoundError: pass"],
        ["os.makedirs('new/a')", "os.rmdir('new/a')", "shutil.rmtree('new')"],
        ["with open(os.devnull, 'w') as f:", "    f.write('x')"],
        ["subprocess.run([sys.executable, '-c', ''], check=True)"],
        ["os.write(os.open('kept', os.O_RDONLY) and 1, b'')"],
    ],
)
def test_code_that_writes_runs_on(folder: Path, lines: list[str]) -> None:
    before = files(folder)
    assert built_with(folder, *lines).of("build").error == ""
    assert files(folder) == before


def test_a_large_file_is_not_copied(folder: Path) -> None:
    """As a data set that is mapped to memory, which opens it for writing where nothing is said."""
    with open("large", "wb") as file:
        file.truncate(2**27)
    error = built_with(folder, "numpy.memmap('large', 'uint8')").of("build").error
    assert "the verifier does not let it write large" in error


def test_an_import_writes_nothing_either(folder: Path) -> None:
    before = files(folder)
    text = "import logging, os\nlogging.FileHandler('log').close()\nos.remove('kept')\n"
    found = examined(folder, f"{text}{BUILD.format('pass')}")
    assert found.module.error == "ChangesFiles: the verifier does not let it remove kept"
    assert "__main__" in found.module.remedy
    assert notes(found) == ["what it wrote was not kept: log", "it was not let remove kept"]
    assert files(folder) == before


def test_caches_are_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = folder / "home/.cache"
    cache.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder / "home"))
    found = built_with(folder, "open(os.path.expanduser('~/.cache/x'), 'w').write('y')")
    assert notes(found) == []
    assert (cache / "x").read_text() == "y"


def test_a_project_in_a_hidden_folder_is_no_cache(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = folder / "home/.projects/net"
    project.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder / "home"))
    line = "open(os.path.expanduser('~/.projects/net/x'), 'w').write('y')"
    assert notes(built_with(project, line)) != []
    assert not (project / "x").exists()


def test_afterwards_files_are_written_as_ever(folder: Path) -> None:
    built_with(folder, "open('kept', 'w').write('x')")
    (folder / "kept").write_text("later")
    assert (folder / "kept").read_text() == "later"
    subprocess.run([sys.executable, "-c", "open('kept', 'w')"], check=True)
    (folder / "kept").unlink()
    assert not (folder / "kept").exists()
