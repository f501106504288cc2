"""A sweep over real files: order, writes, workers that die, and ways to end before the end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bncodemod.model import FileResult, Status
from bncodemod.settings import Configuration, ConfigurationError, load_configuration
from bncodemod.sweep import run
from bncodemod.sweep.run import sweep

SITE = b"from torch import nn\n\nnorm = nn.BatchNorm2d(64)\n"
DONE = b"from torch import nn\n\nnorm = nn.BatchNorm2d(64, track_running_stats=False)\n"
PLAIN = b"x = 1\n"
BROKEN = b"from torch import nn\nnorm = nn.BatchNorm2d(64\n"
# Comments that make a file count without making it slow.
BULK = b"# BatchNorm" + b"." * 100 + b"\n"


@pytest.fixture(autouse=True)
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pool_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the pool at the first candidate, with small batches."""
    monkeypatch.setattr(run, "POOL_PAYS_FORKED", 0)
    monkeypatch.setattr(run, "POOL_PAYS_SPAWNED", 0)
    monkeypatch.setattr(run, "BATCH_BYTES", 100)


def fill(root: Path, contents: dict[str, bytes]) -> None:
    for name, content in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def swept(*paths: str, write: bool = False, jobs: int | None = None) -> list[FileResult]:
    return list(sweep(paths or ["."], Configuration(os.getcwd()), write=write, jobs=jobs))


class TestResults:
    def test_only_files_with_something_to_say_in_order(self, tree: Path) -> None:
        fill(tree, {"c.py": SITE, "a.py": PLAIN, "b.py": BROKEN, "a/z.py": SITE})
        results = swept("missing.py", ".")
        assert [result.path for result in results] == ["a/z.py", "b.py", "c.py", "missing.py"]
        assert [result.after for result in results] == [DONE, None, DONE, None]
        assert [e.code for r in results for e in r.errors] == ["BN901", "BN902"]

    def test_nothing_is_written_unless_asked(self, tree: Path) -> None:
        fill(tree, {"a.py": SITE})
        swept()
        assert (tree / "a.py").read_bytes() == SITE
        swept(write=True)
        assert (tree / "a.py").read_bytes() == DONE

    def test_change_is_on_disk_when_its_result_comes(self, tree: Path) -> None:
        fill(tree, {"a.py": SITE, "b.py": SITE})
        results = sweep(["."], Configuration(str(tree)), write=True)
        assert next(results).path == "a.py"
        assert (tree / "a.py").read_bytes() == DONE
        assert (tree / "b.py").read_bytes() == SITE

    @pytest.mark.parametrize("jobs", [1, 2])
    def test_failed_write_leaves_nothing_rewritten(
        self, tree: Path, pool_always: None, jobs: int
    ) -> None:
        fill(tree, {"a.py": SITE, "c.py": SITE})
        os.link("a.py", "b.txt")
        first, second = swept(write=True, jobs=jobs)
        assert (first.after, [e.code for e in first.errors]) == (None, ["BN906"])
        assert [f.status for f in first.findings] == [Status.OPEN]
        assert [f.after for f in first.findings] == [""]
        assert (tree / "a.py").read_bytes() == SITE
        assert second.after == (tree / "c.py").read_bytes() == DONE

    @pytest.mark.parametrize("jobs", [1, 2])
    def test_progress(self, tree: Path, pool_always: None, jobs: int) -> None:
        fill(tree, {f"{n}.py": SITE if n % 3 else PLAIN for n in range(10)})
        seen: list[tuple[int, int]] = []

        def progress(done: int, total: int) -> None:
            seen.append((done, total))

        configuration = Configuration(str(tree))
        list(sweep(["."], configuration, write=False, jobs=jobs, on_progress=progress))
        assert seen == [(n, 10) for n in range(1, 11)]

    def test_settings_of_each_file(self, tree: Path, pool_always: None) -> None:
        fill(tree, {"a/x.py": SITE, "b/y.py": SITE})
        (tree / "pyproject.toml").write_text("[tool.bncodemod]\n")
        (tree / "b/pyproject.toml").write_text('[tool.bncodemod]\nignore = ["BN1"]\n')
        for jobs in (1, 2):
            results = sweep(["."], load_configuration(["."]), write=False, jobs=jobs)
            assert [r.path for r in results if r.after] == ["a/x.py"]
        (tree / "b/pyproject.toml").write_text("[tool.bncodemod]\nfoo = 1\n")
        with pytest.raises(ConfigurationError):
            list(sweep(["."], load_configuration(["."]), write=False))

    def test_file_of_a_link_is_rewritten_and_the_link_stays(self, tree: Path) -> None:
        fill(tree, {"elsewhere/x.py": SITE, "a/y.py": PLAIN})
        os.symlink("../elsewhere/x.py", "a/x.py")
        (result,) = swept("a", write=True)
        assert result.path == "a/x.py"
        assert os.path.islink("a/x.py")
        assert (tree / "elsewhere/x.py").read_bytes() == DONE


CONTENTS = st.sampled_from(
    [
        SITE,
        PLAIN,
        BROKEN,
        b"",
        b"import torch.nn as tn\nBN = tn.BatchNorm1d\n",
        b"# coding: latin-1\nfrom torch.nn import BatchNorm2d\nx = BatchNorm2d(3) # \xe9\r\n",
        SITE + b"\0",
    ]
)
NAMES = st.sampled_from(["a.py", "b.py", "c.pyi", "d/a.py", "d/e/b.py", "f.txt", "d/c.py"])


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(st.dictionaries(NAMES, CONTENTS))
def test_pool_gives_what_one_process_gives(
    tmp_path: Path, pool_always: None, contents: dict[str, bytes]
) -> None:
    shutil.rmtree(tmp_path / "tree", ignore_errors=True)
    fill(tmp_path, {f"tree/{name}": content for name, content in contents.items()})
    (tmp_path / "tree").mkdir(exist_ok=True)
    assert swept("tree", jobs=3) == swept("tree", jobs=1)


def test_pool_in_a_process_with_threads(tree: Path, pool_always: None) -> None:
    fill(tree, {f"{n}.py": SITE for n in range(4)})
    script = (
        "import threading, time\n"
        "if __name__ == '__main__':\n"
        "    threading.Thread(target=time.sleep, args=(3,), daemon=True).start()\n"
        "    from bncodemod.settings import Configuration\n"
        "    from bncodemod.sweep import run\n"
        "    run.POOL_PAYS_SPAWNED = 0\n"
        "    results = run.sweep(['.'], Configuration('.'), write=True, jobs=2)\n"
        "    print(*(result.path for result in results))\n"
    )
    (tree / "script.txt").write_text(script)
    done = subprocess.run(
        [sys.executable, "-W", "error", "script.txt"], capture_output=True, text=True, check=False
    )
    assert (done.stderr, done.stdout) == ("", "0.py 1.py 2.py 3.py\n")


KILL_READERS = """
import errno, os, signal, sys, time
path, driver = sys.argv[1], int(sys.argv[2])

def reader():
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                if any(os.path.samefile(f"/proc/{name}/fd/{fd}", path)
                       for fd in os.listdir(f"/proc/{name}/fd")):
                    return int(name)
            except OSError:
                pass

print(flush=True)
killed = 0
while killed < 2:
    try:
        end = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        assert error.errno == errno.ENXIO  # nobody reads yet
        time.sleep(0.002)
        continue
    while not (pid := reader()):
        time.sleep(0.002)
    if pid == driver:
        os.write(end, b"BatchNorm\\n")
        os.close(end)
    else:
        os.kill(pid, signal.SIGKILL)
        killed += 1
    while reader():
        time.sleep(0.002)
    if pid != driver:
        os.close(end)
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="finds the readers in /proc")
def test_death_of_a_worker_costs_one_file(tree: Path, pool_always: None) -> None:
    """Whoever reads ``d.py`` is killed, in the pool and alone: the others must all be done."""
    os.symlink("nowhere", "a.py")
    names = ["b.py", "c.py", "d.py", "e.py", "f.py", *(f"g{n:02}.py" for n in range(40))]
    fill(tree, dict.fromkeys(names, SITE))
    results = sweep(["."], Configuration(str(tree)), write=True, jobs=2)
    assert next(results).path == "a.py"
    os.unlink("d.py")
    os.mkfifo("d.py")
    killer = subprocess.Popen(
        [sys.executable, "-c", KILL_READERS, "d.py", str(os.getpid())], stdout=subprocess.PIPE
    )
    assert killer.stdout
    killer.stdout.readline()
    try:
        rest = list(results)
        assert killer.wait(10) == 0
    finally:
        killer.kill()
        killer.communicate()
    assert [result.path for result in rest] == names
    (failed,) = (result for result in rest if result.errors)
    assert failed.path == "d.py"
    assert failed.errors[0].code == "BN905"
    assert "SIGKILL" in failed.errors[0].message
    os.unlink("d.py")
    assert {(tree / name).read_bytes() for name in names if name != "d.py"} == {DONE}


SWEEP = """
import sys
from bncodemod.settings import Configuration
from bncodemod.sweep import run
run.POOL_PAYS_FORKED = 0
run.BATCH_BYTES = 100
try:
    for result in run.sweep(["."], Configuration("."), write=True, jobs=2):
        print(result.path, flush=True)
        input()
except KeyboardInterrupt:
    sys.exit(130)
"""


@contextmanager
def sweep_that_waits(tree: Path) -> Iterator[subprocess.Popen[str]]:
    """A sweep in another process that stands still after its first result."""
    fill(tree, dict.fromkeys(["a.py", *(f"y{n:02}.py" for n in range(40))], SITE))
    process = subprocess.Popen(
        [sys.executable, "-c", SWEEP],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == "a.py\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def members(group: int) -> list[str]:
    listed = subprocess.run(
        ["ps", "-o", "pid=,stat=", "-g", str(group)], capture_output=True, text=True, check=False
    )
    return [line for line in listed.stdout.splitlines() if "Z" not in line]


def gone(group: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while members(group):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.skipif(shutil.which("ps") is None, reason="looks for processes left behind")
class TestEndBeforeTheEnd:
    def test_interrupt(self, tree: Path) -> None:
        with sweep_that_waits(tree) as process:
            os.killpg(process.pid, signal.SIGINT)
            _, errors = process.communicate(timeout=5)
            assert (process.returncode, errors) == (130, "")
            assert gone(process.pid, 1)
        self.check(tree)

    def test_kill(self, tree: Path) -> None:
        with sweep_that_waits(tree) as process:
            os.kill(process.pid, signal.SIGKILL)
            assert gone(process.pid, 5)
        self.check(tree)

    def test_nobody_wants_the_rest(self, tree: Path, pool_always: None) -> None:
        fill(tree, {f"{n:02}.py": SITE for n in range(40)})
        results = sweep(["."], Configuration(str(tree)), write=True, jobs=2)
        next(results)
        results.close()  # type: ignore[attr-defined]
        self.check(tree)

    def check(self, tree: Path) -> None:
        contents = [path.read_bytes() for path in tree.iterdir()]
        assert set(contents) <= {SITE, DONE}
        assert contents.count(DONE) <= 1


def test_memory_of_a_long_sweep_is_bounded(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches are handed out as results are taken: the window, not the tree, is in memory."""
    monkeypatch.setattr(run, "BATCH_BYTES", 1)
    monkeypatch.setattr(run, "POOL_PAYS_FORKED", 0)
    monkeypatch.setattr(run, "POOL_PAYS_SPAWNED", 0)  # a thread of another test forbids a fork
    fill(tree, {f"{n:03}.py": SITE for n in range(60)})
    results = sweep(["."], Configuration(str(tree)), write=False, jobs=2)
    next(results)
    for n in range(20, 60):  # not handed out yet: still ours to change
        (tree / f"{n:03}.py").write_bytes(PLAIN)
    rest = len(list(results))
    assert rest < 20


def test_driver_survives_what_kills_libcst(tree: Path) -> None:
    deep = b"from torch import nn\nx = nn.BatchNorm2d(" + b"(" * 5000 + b"1" + b")" * 5001 + b"\n"
    fill(tree, {"a.py": SITE, "b.py": deep, "c.py": SITE})
    a, b, c = swept(jobs=1)
    assert (a.after, b.after, c.after) == (DONE, None, DONE)
    assert [(error.path, error.code, error.line) for error in b.errors] == [("b.py", "BN904", 2)]
