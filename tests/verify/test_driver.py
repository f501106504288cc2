"""What user code does to its process costs one module or one candidate, and is said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bncodemod.verify.driver import Driver, Gathered, Limits
from bncodemod.verify.errors import CannotVerify
from bncodemod.verify.model import CandidateResult, Job, Outcome, Site, SiteKind
from bncodemod.verify.protocol import Setup

STAND_IN = Setup(examine="stand_in:examine")
LIMITS = Limits(step=6, module=60, memory=2**30)
GOOD = "import os, torch.fx\nclass Good(torch.nn.Module):\n    pass\n"
linux = pytest.mark.skipif(sys.platform != "linux", reason="the memory limit is Linux's")

SEGFAULT = "import ctypes\nctypes.string_at(0)\n"
LOOP = "while True:\n    pass\n"
GREEDY = "held = []\nwhile True:\n    held.append(bytearray(2**26))\n"
ABORT = "import os\nos.abort()\n"
LEAVE = "import os\nos._exit(5)\n"


def in_method(method: str, body: str) -> str:
    """A module whose class ``Bad`` does something when it is built or checked."""
    indented = "".join(f"        {line}\n" for line in body.splitlines())
    return f"class Bad:\n    def {method}(self):\n{indented}\n\nclass Behind:\n    pass\n"


# What each module of one run does to its worker; every second one is good and must come through.
MODULES = {
    "segfault": SEGFAULT,
    "sys_exit": "import sys\nsys.exit(3)\n",
    "exit": "exit()\n",
    "leave": LEAVE,
    "loop": LOOP,
    "prints": "import os\nprint('hello')\nos.write(2, b'raw\\n')\nos.write(1, b'x' * 10000)\n",
    "asks": "input('name? ')\n",
    "forks": f"import os\nos.fork()\n{GOOD}",
    "child_sleeps": (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    open(os.environ['CHILD'], 'w').write(str(os.getpid()))\n"
        "    time.sleep(1000)\n"
        "while not os.path.exists(os.environ['CHILD']):\n"
        "    time.sleep(0.01)\n"
    ),
    "never_ends": (
        "import atexit, threading, time\n"
        "threading.Thread(target=time.sleep, args=(1000,)).start()\n"
        "atexit.register(time.sleep, 1000)\n"
    ),
    "unloads": "import sys, torch.fx\nsys.modules['torch'] = sys.modules['os'] = None\n",
    "meddles": (
        "import os, sys\nos.chdir('/')\nsys.path.clear()\nos.environ.clear()\nsys.stdout = None\n"
    ),
    "parses": "import argparse\nargparse.ArgumentParser().parse_args()\n",
    "scribbles": (
        "import os\nfor fd in range(3, 64):\n    try:\n        os.write(fd, b'garbage')\n"
        "    except OSError:\n        pass\n"
    ),
    "closes": "import os\nos.closerange(3, 100)\n",
    **({"greedy": GREEDY} if sys.platform == "linux" else {}),
    "built_loop": in_method("__init__", LOOP),
    "built_segfault": in_method("__init__", SEGFAULT),
    "checked_loop": in_method("check", LOOP),
    "checked_segfault": in_method("check", SEGFAULT),
    "checked_abort": in_method("check", ABORT),
    "checked_leave": in_method("check", LEAVE),
    "timed_segfault": in_method("time", SEGFAULT),
    **({"checked_greedy": in_method("check", GREEDY)} if sys.platform == "linux" else {}),
}


@dataclass
class Run:
    """One run over all of them."""

    folder: Path
    found: Gathered

    def path(self, name: str) -> str:
        return str(self.folder / f"{name}.py")

    def error(self, name: str) -> str:
        return self.found.modules[self.path(name)].error

    def candidate(self, name: str, of: str) -> CandidateResult:
        return self.found.candidates[self.path(of), name]


@pytest.fixture(autouse=True, scope="module")
def stand_in_is_found() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        before = os.environ.get("PYTHONPATH", "")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), before]))
        yield


def job(path: Path, text: str) -> Job:
    path.write_text(text)
    site = Site(str(path), 1, 1, 1, 2, SiteKind.CALL, "x")
    return Job(str(path), path.stem, str(path.parent), (site,))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, stand_in_is_found: None) -> Run:
    folder = tmp_path_factory.mktemp("run")
    jobs = []
    for name, text in MODULES.items():
        jobs += [job(folder / f"{name}.py", text), job(folder / f"behind_{name}.py", GOOD)]
    with pytest.MonkeyPatch.context() as patch, Driver(STAND_IN, LIMITS) as driver:
        patch.setenv("CHILD", str(folder / "child"))
        driver.start()
        driver.run(jobs, ["cpu"])
    return Run(folder, driver.gathered)


@pytest.mark.parametrize("name", MODULES)
def test_the_next_module_comes_through(run: Run, name: str) -> None:
    assert run.error(f"behind_{name}") == ""
    assert run.candidate("Good", of=f"behind_{name}").error == ""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("segfault", "the process was killed by SIGSEGV, at segfault.py:2"),
        ("sys_exit", "SystemExit: 3"),
        ("exit", "SystemExit: None"),
        ("leave", "the process ended itself with exit code 5, as os._exit(5) does"),
        ("loop", "it took longer than 6 s, at loop.py:"),
        ("closes", "it closed the files of its process, as os.closerange does"),
        ("scribbles", "it took longer than 6 s"),
        ("asks", "EOFError: EOF when reading a line"),
        pytest.param("greedy", "it needed more than 1 GiB of memory", marks=linux),
    ],
)
def test_an_import_that_fails(run: Run, name: str, expected: str) -> None:
    assert run.error(name).startswith(expected)


def test_an_import_that_does_not_end_has_a_remedy(run: Run) -> None:
    assert "__main__" in run.found.modules[run.path("loop")].remedy


@pytest.mark.parametrize(
    "name", ["prints", "forks", "child_sleeps", "never_ends", "unloads", "meddles", "parses"]
)
def test_an_import_that_is_only_odd(run: Run, name: str) -> None:
    assert run.error(name) == ""


def test_what_an_import_prints_is_kept_with_it(run: Run) -> None:
    printed = run.found.modules[run.path("prints")].output
    assert printed.startswith("hello\nraw\nxxx")
    assert len(printed) < 5000
    assert run.found.modules[run.path("behind_prints")].output == ""


@pytest.mark.parametrize("name", ["loop", "segfault"])
def test_where_a_worker_was_is_not_what_the_module_printed(run: Run, name: str) -> None:
    module = run.found.modules[run.path(name)]
    assert module.output == ""
    assert f"{name}.py" in module.trace


def test_a_fork_is_said_and_its_copy_says_nothing(run: Run) -> None:
    for name in ("forks", "child_sleeps"):
        notes = run.found.modules[run.path(name)].notes
        assert notes == ("it forked the process that imported it",)
    assert run.candidate("Good", of="forks").error == ""
    assert is_gone(int((run.folder / "child").read_text()))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("built_loop", "it took longer than 6 s, at built_loop.py:"),
        ("built_segfault", "the process was killed by SIGSEGV, at built_segfault.py:4"),
        ("checked_loop", "it took longer than 6 s, at checked_loop.py:"),
        ("checked_segfault", "the process was killed by SIGSEGV, at checked_segfault.py:4"),
        ("checked_abort", "the process was killed by SIGABRT, at checked_abort.py:4"),
        ("checked_leave", "the process ended itself with exit code 5"),
        pytest.param("checked_greedy", "it needed more than 1 GiB of memory", marks=linux),
    ],
)
def test_a_candidate_that_kills_its_worker(run: Run, name: str, expected: str) -> None:
    result = run.candidate("Bad", of=name)
    assert result.error.startswith(expected)
    assert run.candidate("Behind", of=name).error == ""
    if name.startswith("checked"):  # the sites that it holds are known by then
        assert [(c.check.value, c.message) for c in result.checks] == [("vmap", result.error)]
        assert [site.path for site in result.sites] == [run.path(name)]


def test_what_is_lost_while_it_is_timed_keeps_its_checks(run: Run) -> None:
    result = run.candidate("Bad", of="timed_segfault")
    assert (result.error, [c.outcome for c in result.checks]) == ("", [Outcome.PASSED])
    (note,) = result.notes
    assert note.startswith("not timed: the process was killed by SIGSEGV")
    assert run.candidate("Behind", of="timed_segfault").error == ""


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


def test_a_module_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    text = "import time\n" + "".join(
        f"class C{n}:\n    def check(self):\n        time.sleep(2)\n" for n in range(9)
    )
    path = tmp_path / "b.py"
    with Driver(STAND_IN, Limits(step=60, module=5)) as driver:
        driver.start()
        driver.run([job(path, text)], ["cpu"])
    (note,) = driver.gathered.modules[str(path)].notes
    assert "the module took longer than 5 s" in note
    assert (str(path), "C0") in driver.gathered.candidates
    assert (str(path), "C8") not in driver.gathered.candidates


def test_several_devices_share_the_jobs(tmp_path: Path) -> None:
    jobs = [job(tmp_path / f"m{n}.py", GOOD) for n in range(6)]
    seen: list[tuple[int, int]] = []
    with Driver(STAND_IN, LIMITS) as driver:
        driver.start()
        driver.run(jobs, ["cpu", "cpu"], lambda done, total: seen.append((done, total)))
        assert len(driver.gathered.candidates) == 6
    assert seen[-1] == (6, 6)
    assert seen == sorted(seen)


@pytest.mark.parametrize(
    ("change", "name", "unchanged"),
    [
        ("nn.ReLU.forward = print", "ReLU.forward", "nn.ReLU.forward is not print"),
        ("nn.Sigmoid.other = lambda self: 3", "Sigmoid.other", "not hasattr(nn.Sigmoid, 'other')"),
        (
            "torch.set_default_dtype(torch.float64)",
            "torch.set_default_dtype",
            "torch.get_default_dtype() is torch.float32",
        ),
        ("torch.set_grad_enabled(False)", "torch.set_grad_enabled", "torch.is_grad_enabled()"),
        (
            "torch.set_default_device('meta')",
            "torch.set_default_device",
            "torch.empty(0).device.type == 'cpu'",
        ),
        (
            "import functools; nn.BatchNorm2d = functools.partial(nn.BatchNorm2d, eps=1)",
            "torch.nn.BatchNorm2d",
            "isinstance(nn.BatchNorm2d, type)",
        ),
        ("torch.relu = print", "torch.relu", "torch.relu is not print"),
        ("torch.Tensor.item = lambda self: 0", "Tensor.item", "torch.ones(1).item()"),
        (
            "torch.nn.init.kaiming_normal_ = lambda w, **_: w",
            "torch.nn.init.kaiming_normal_",
            "nn.init.kaiming_normal_.__module__ == 'torch.nn.init'",
        ),
        (
            "nn.modules.module.register_module_forward_hook(print)",
            "torch.nn.modules.module._global_forward_hooks",
            "not nn.modules.module._global_forward_hooks",
        ),
    ],
)
def test_what_a_module_changes_in_torch_ends_with_it(
    tmp_path: Path, change: str, name: str, unchanged: str
) -> None:
    texts = {"changes": change, "behind": f"assert {unchanged}"}
    head = "import torch\nfrom torch import nn\n"
    jobs = [job(tmp_path / f"{of}.py", f"{head}{text}\n") for of, text in texts.items()]
    with Driver(STAND_IN, LIMITS) as driver:
        driver.start()
        driver.run(jobs, ["cpu"])
    found = Run(tmp_path, driver.gathered)
    notes = found.found.modules[found.path("changes")].notes
    (note,) = notes
    assert note.startswith(f"it changed libraries for its process: {name}")
    assert found.error("behind") == ""


LIBRARY = """
from torch import nn


class Block(nn.Module):
    def forward(self, x):
        return x
"""


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ("lib.Block = Own", "layers_lib.Block"),
        ("lib.Block = functools.partial(Own)", "layers_lib.Block"),
        ("lib.Block.forward = Own.forward", "layers_lib.Block, layers_lib.Block.forward"),
        ("lib.function = Own.forward\nraise ValueError", "layers_lib.function"),
    ],
)
def test_what_a_module_puts_into_a_library_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, name: str
) -> None:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "layers_lib.py").write_text(LIBRARY)
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{os.environ['PYTHONPATH']}")
    head = "import functools\nimport layers_lib as lib\n"
    own = "class Own:\n    def forward(*args):\n        return 3\n"
    behind = f"{head}assert lib.Block().forward(1) == 1\n"
    jobs = [job(tmp_path / "changes.py", f"{head}{own}{change}\n")]
    jobs += [job(tmp_path / f"behind_{n}.py", behind) for n in range(2)]
    with Driver(STAND_IN, LIMITS) as driver:
        driver.start()
        driver.run(jobs, ["cpu"])
    found = Run(tmp_path, driver.gathered)
    note = found.found.modules[found.path("changes")].notes[-1]
    assert note == f"it changed libraries for its process: {name}"
    for n in range(2):
        assert found.error(f"behind_{n}") == ""
        assert not found.found.modules[found.path(f"behind_{n}")].notes


@pytest.mark.parametrize("end", [LEAVE, SEGFAULT, LOOP, ""], ids=["leave", "crash", "loop", "end"])
def test_temporary_files_go_with_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    text = f"import tempfile\nopen(tempfile.mkdtemp() + '/a', 'w').close()\n{end}"
    with Driver(STAND_IN, LIMITS) as driver:
        driver.start()
        driver.run([job(tmp_path / "writes.py", text)], ["cpu"])
        assert (driver.gathered.modules[str(tmp_path / "writes.py")].error != "") is (end != "")
    assert not list(temporary.glob("bncodemod-*"))


def test_what_torch_changes_in_itself_is_no_change(tmp_path: Path) -> None:
    """Its compiler puts its own functions around others when it is imported, and used."""
    text = "import torch\nmodel = torch.compile(torch.nn.ReLU(), backend='eager')\n"
    path = tmp_path / "compiles.py"
    with Driver(STAND_IN, Limits(step=60)) as driver:
        driver.start()
        driver.run([job(path, f"{text}model(torch.ones(2))\n")], ["cpu"])
    module = driver.gathered.modules[str(path)]
    assert (module.error, module.notes) == ("", ())


def test_what_was_found_is_kept_when_no_worker_starts_any_more(tmp_path: Path) -> None:
    """The file of examples runs once only."""
    examples = tmp_path / "examples.py"
    examples.write_text(f"import os\nos.mkdir({str(tmp_path / 'once')!r})\n")
    setup = Setup(examine="stand_in:examine", examples=str(examples))
    texts = {"good": GOOD, "leaves": LEAVE, "behind": GOOD}
    jobs = [job(tmp_path / f"{name}.py", text) for name, text in texts.items()]
    with Driver(setup, LIMITS) as driver:
        driver.start()
        driver.run(jobs, ["cpu"])
    found = Run(tmp_path, driver.gathered)
    assert found.candidate("Good", of="good").error == ""
    assert "os._exit(5)" in found.error("leaves")
    assert "examples.py failed: FileExistsError" in found.error("behind")


def test_no_torch_is_said_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\")\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}")
    with Driver(STAND_IN, LIMITS) as driver, pytest.raises(CannotVerify) as caught:
        driver.start()
    assert "needs torch: No module named 'torch'" in caught.value.message
    assert "bncodemod[verify]" in caught.value.remedy


# Holds the interpreter's lock for hours, so that no other thread comes to its turn.
HOG = "import re\nre.match('(a|a)*b', 'a' * 60)\n"


@pytest.mark.parametrize("work", [LOOP, pytest.param(HOG, marks=linux)], ids=["loop", "hog"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_its_driver(tmp_path: Path, number: signal.Signals, work: str) -> None:
    driver, started = drive(tmp_path, [sys.executable, "-c", _DRIVE], work)
    driver.send_signal(number)
    driver.wait(30)
    assert [is_gone(process) for process in started] == [True, True]


@linux
def test_what_is_stopped_does_not_outlive_its_driver(tmp_path: Path) -> None:
    driver, started = drive(tmp_path, [sys.executable, "-c", _DRIVE], LOOP)
    os.killpg(started[0], signal.SIGSTOP)
    driver.kill()
    driver.wait(30)
    assert [is_gone(process) for process in started] == [True, True]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_command_as_ctrl_c_does(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "bncodemod", "verify"]
    driver, started = drive(tmp_path, command, LOOP)
    driver.send_signal(number)
    assert driver.communicate(timeout=30)[1].endswith("Interrupted: nothing was changed\n")
    assert driver.returncode == 128 + number
    assert [is_gone(process) for process in started] == [True, True]


def drive(
    folder: Path, command: list[str], work: str
) -> tuple[subprocess.Popen[str], tuple[int, int]]:
    """A driver whose worker is at a module's work, and what runs: the worker and its child."""
    mark, module = folder / "pids", folder / "m.py"
    module.write_text(
        "import os, subprocess, sys\nfrom torch import nn\nnorm = nn.GroupNorm(1, 4)\n"
        "child = subprocess.Popen(['sleep', '1000'])\n"
        f'say = """open({str(mark)!r}, "w").write("%d %d.")"""\n'  # it writes nothing itself
        f"subprocess.run([sys.executable, '-c', say % (os.getpid(), child.pid)])\n{work}"
    )
    driver = subprocess.Popen([*command, str(module)], stderr=subprocess.PIPE, text=True)
    while not (mark.exists() and mark.read_text().endswith(".")):
        assert driver.poll() is None
        time.sleep(0.05)
    worker, child = map(int, mark.read_text().rstrip(".").split())
    return driver, (worker, child)


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
