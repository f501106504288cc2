"""What user code does to its process costs one module or one candidate, and is said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bncodemod.verify.driver import Driver, Gathered, Limits
from bncodemod.verify.errors import CannotVerify
from bncodemod.verify.model import Job, Site, SiteKind
from bncodemod.verify.protocol import Setup

STAND_IN = Setup(examine="stand_in:examine")
FAR = Limits(candidate=60, module=120, memory=4 * 2**30)
GOOD = "class Good:\n    pass\n"
linux = pytest.mark.skipif(sys.platform != "linux", reason="the memory limit is Linux's")


@pytest.fixture(autouse=True)
def _stand_in_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), before]))


def job(path: Path, text: str) -> Job:
    path.write_text(text)
    site = Site(str(path), 1, 1, 1, 2, SiteKind.CALL, "x")
    return Job(str(path), path.stem, str(path.parent), (site,))


def drive(*jobs: Job, limits: Limits = FAR) -> Gathered:
    with Driver(STAND_IN, limits) as driver:
        driver.start()
        driver.run(jobs, ["cpu"])
        return driver.gathered


def outcome(tmp_path: Path, text: str, limits: Limits = FAR) -> Gathered:
    """What comes of a module between two good ones, which must come through."""
    names = [
        job(tmp_path / "a.py", GOOD),
        job(tmp_path / "b.py", text),
        job(tmp_path / "c.py", GOOD),
    ]
    found = drive(*names, limits=limits)
    for good in ("a.py", "c.py"):
        path = str(tmp_path / good)
        assert found.modules[path].error == ""
        assert found.candidates[path, "Good"].error == ""
    return found


def import_error(tmp_path: Path, text: str, limits: Limits = FAR) -> str:
    found = outcome(tmp_path, text, limits)
    return found.modules[str(tmp_path / "b.py")].error


SEGFAULT = "import ctypes\nctypes.string_at(0)\n"
LOOP = "while True:\n    pass\n"
GREEDY = "held = []\nwhile True:\n    held.append(bytearray(2**26))\n"


def test_a_segfault_on_import(tmp_path: Path) -> None:
    assert import_error(tmp_path, SEGFAULT) == "the process was killed by SIGSEGV, at b.py:2"


def test_exit_on_import(tmp_path: Path) -> None:
    assert import_error(tmp_path, "import sys\nsys.exit(3)\n") == "SystemExit: 3"
    assert import_error(tmp_path, "exit()\n") == "SystemExit: None"
    expected = "the process ended itself with exit code 0, as os._exit(0) does"
    assert import_error(tmp_path, "import os\nos._exit(0)\n") == expected


def test_a_loop_on_import(tmp_path: Path) -> None:
    error = import_error(tmp_path, LOOP, Limits(candidate=3))
    assert error.startswith("it took longer than 3 s, at b.py:")


@linux
def test_a_huge_allocation(tmp_path: Path) -> None:
    error = import_error(tmp_path, GREEDY, Limits(memory=2**30))
    assert error.startswith("it needed more than 1 GiB of memory")


def test_an_import_that_prints(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = "import os\nprint('hello')\nos.write(2, b'raw\\n')\nos.write(1, b'x' * 10000)\n" + GOOD
    found = outcome(tmp_path, text)
    said = found.modules[str(tmp_path / "b.py")]
    assert said.error == ""
    assert said.output.startswith("hello\nraw\nxxx")
    assert len(said.output) < 5000
    assert found.modules[str(tmp_path / "c.py")].output == ""
    assert capfd.readouterr() == ("", "")


def test_an_import_that_asks(tmp_path: Path) -> None:
    assert import_error(tmp_path, "input('name? ')\n") == "EOFError: EOF when reading a line"


def test_an_import_that_forks(tmp_path: Path) -> None:
    text = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        f"    open({str(tmp_path / 'child')!r}, 'w').write(str(os.getpid()))\n"
        "class Good:\n"
        "    pass\n"
    )
    found = outcome(tmp_path, text)
    assert found.modules[str(tmp_path / "b.py")].notes == (
        "it forked the process that imported it",
    )
    assert list(found.candidates) == [(str(tmp_path / f"{n}.py"), "Good") for n in "abc"]


def test_a_forked_process_does_not_outlive_the_run(tmp_path: Path) -> None:
    child = tmp_path / "child"
    text = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        f"    open({str(child)!r}, 'w').write(str(os.getpid()))\n"
        "    time.sleep(1000)\n"
        f"while not os.path.exists({str(child)!r}) or not open({str(child)!r}).read():\n"
        "    time.sleep(0.01)\n"
    )
    outcome(tmp_path, text)
    assert is_gone(int(child.read_text()))


def is_gone(pid: int) -> bool:
    """Whether a process ends, given a little time."""
    for _ in range(200):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
            os.kill(pid, 0)
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


def test_threads_and_exit_handlers_that_never_end(tmp_path: Path) -> None:
    text = (
        "import atexit, threading, time\n"
        "threading.Thread(target=time.sleep, args=(1000,)).start()\n"
        "atexit.register(time.sleep, 1000)\n"
    )
    assert import_error(tmp_path, text) == ""


def test_what_a_module_does_to_its_process_is_undone(tmp_path: Path) -> None:
    text = (
        "import os, sys\nos.chdir('/')\nsys.path.clear()\nos.environ.clear()\nsys.stdout = None\n"
    )
    assert import_error(tmp_path, text) == ""


@pytest.mark.parametrize(
    ("body", "limits", "expected"),
    [
        (LOOP, Limits(candidate=3), "it took longer than 3 s, at b.py:"),
        (SEGFAULT, FAR, "the process was killed by SIGSEGV, at b.py:"),
        ("import os\nos.abort()\n", FAR, "the process was killed by SIGABRT, at b.py:"),
        ("import os\nos._exit(5)\n", FAR, "the process ended itself with exit code 5"),
        pytest.param(GREEDY, Limits(memory=2**30), "it needed more than 1 GiB", marks=linux),
    ],
)
@pytest.mark.parametrize("method", ["__init__", "check"])
def test_a_candidate_that_kills_its_worker(
    tmp_path: Path, body: str, limits: Limits, expected: str, method: str
) -> None:
    indented = "".join(f"        {line}\n" for line in body.splitlines())
    bad = f"class Bad:\n    def {method}(self):\n{indented}"
    path = str(tmp_path / "b.py")
    found = outcome(tmp_path, f"{bad}\nclass Behind:\n    pass\n", limits)
    result = found.candidates[path, "Bad"]
    assert result.error.startswith(expected)
    assert found.candidates[path, "Behind"].error == ""
    if method == "check":  # the sites that it holds are known by then
        assert [(c.check.value, c.message) for c in result.checks] == [("vmap", result.error)]
        assert [site.path for site in result.sites] == [path]


def test_a_module_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    text = "import time\n" + "".join(
        f"class C{n}:\n    def check(self):\n        time.sleep(2)\n" for n in range(9)
    )
    found = outcome(tmp_path, text, Limits(candidate=60, module=5))
    (note,) = found.modules[str(tmp_path / "b.py")].notes
    assert "the module took longer than 5 s" in note
    assert (str(tmp_path / "b.py"), "C0") in found.candidates
    assert (str(tmp_path / "b.py"), "C8") not in found.candidates


def test_several_devices_share_the_jobs(tmp_path: Path) -> None:
    jobs = [job(tmp_path / f"m{n}.py", GOOD) for n in range(6)]
    seen: list[tuple[int, int]] = []
    with Driver(STAND_IN, FAR) as driver:
        driver.start()
        driver.run(jobs, ["cpu", "cpu"], lambda done, total: seen.append((done, total)))
        assert len(driver.gathered.candidates) == 6
    assert seen[-1] == (6, 6)
    assert seen == sorted(seen)


def test_no_torch_is_said_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\")\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}")
    with Driver(STAND_IN, FAR) as driver, pytest.raises(CannotVerify) as caught:
        driver.start()
    assert "needs torch: No module named 'torch'" in caught.value.message
    assert "bncodemod[verify]" in caught.value.remedy


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_its_driver(tmp_path: Path, number: signal.Signals) -> None:
    mark = tmp_path / "pid"
    module = tmp_path / "m.py"
    module.write_text(f"import os\nopen({str(mark)!r}, 'w').write(str(os.getpid()))\n{LOOP}")
    driver = subprocess.Popen([sys.executable, "-c", _DRIVE, str(module)])
    while not (mark.exists() and mark.read_text()):
        assert driver.poll() is None
        time.sleep(0.05)
    driver.send_signal(number)
    driver.wait(30)
    assert is_gone(int(mark.read_text()))


_DRIVE = """
import sys
from bncodemod.verify.driver import Driver, Limits
from bncodemod.verify.model import Job
from bncodemod.verify.protocol import Setup
try:
    with Driver(Setup(examine="stand_in:examine"), Limits()) as driver:
        driver.start()
        driver.run([Job(sys.argv[1], "m", "/", ())], ["cpu"])
except KeyboardInterrupt:
    pass
"""
