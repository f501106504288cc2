"""Each job is given the modules that a process of its own would import."""

from __future__ import annotations

import queue
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from bncodemod.verify.instrument import Finder
from bncodemod.verify.loading import load
from bncodemod.verify.model import Job

Load = Callable[..., ModuleType]


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Loads a file as a job of its folder, one job after the other in this process."""
    modules, path = dict(sys.modules), sys.path[:]
    monkeypatch.syspath_prepend(tmp_path / "site-packages")
    between = sys.path[:]

    def load_file(file: str, *folders: str, name: str = "") -> ModuleType:
        sys.path[:] = between  # as the worker does between two jobs
        place = tmp_path / file
        above = tuple(str(tmp_path / folder) for folder in folders)
        job = Job(str(place), name or place.stem, str(place.parent), (), folders=above)
        return load(job, Finder(()))

    yield load_file
    sys.path[:] = path
    for each in set(sys.modules) - set(modules):
        del sys.modules[each]
    sys.modules.update(modules)


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


NET = "from nearby import WIDTH\n"


def test_a_helper_is_that_of_the_files_own_folder(tmp_path: Path, loaded: Load) -> None:
    for number in range(3):
        helper = f"WIDTH = {number}\n"
        write(tmp_path, {f"exp{number}/net.py": NET, f"exp{number}/nearby.py": helper})
    assert [loaded(f"exp{number}/net.py").WIDTH for number in (0, 1, 2, 0)] == [0, 1, 2, 0]


def test_a_helper_that_the_next_folder_lacks_is_not_there(tmp_path: Path, loaded: Load) -> None:
    write(tmp_path, {"a/net.py": NET, "a/nearby.py": "WIDTH = 1\n", "b/other.py": NET})
    loaded("a/net.py")
    with pytest.raises(ModuleNotFoundError, match="nearby"):
        loaded("b/other.py")


@pytest.mark.parametrize(
    "line", ["from nearby import WIDTH", "import os, nearby as near; WIDTH = near.WIDTH"]
)
def test_what_imports_a_helper_is_imported_anew_with_it(
    tmp_path: Path, loaded: Load, line: str
) -> None:
    """By way of a package that both folders share."""
    write(tmp_path, {"pkg/__init__.py": "", "pkg/net.py": f"def f():\n    pass\n{line}\n"})
    for name in ("a", "b"):
        train = {"train.py": "from pkg.net import WIDTH\n", "nearby.py": f"WIDTH = {name!r}\n"}
        write(tmp_path / name, train)
    assert [loaded(f"{name}/train.py", ".").WIDTH for name in "ab"] == ["a", "b"]


def test_what_the_next_job_would_import_as_well_stays(tmp_path: Path, loaded: Load) -> None:
    """A library in which a module registers itself would take it for another one."""
    write(tmp_path, {"pkg/__init__.py": "", "pkg/net.py": "import nearest\n", "nearest.py": ""})
    train = "from pkg import net\nimport nearby\n"
    for name in ("a", "b"):
        write(tmp_path / name, {"train.py": train, "nearby.py": ""})
    first, second = (loaded(f"{name}/train.py", ".") for name in "ab")
    assert first.net is second.net
    assert first.nearby is not second.nearby


def test_a_namespace_package_is_that_of_its_folder(tmp_path: Path, loaded: Load) -> None:
    for name in ("a", "b"):
        files = {"train.py": "from parts.net import WIDTH\n", "parts/net.py": f"WIDTH = {name!r}\n"}
        write(tmp_path / name, files)
    assert [loaded(f"{name}/train.py").WIDTH for name in "ab"] == ["a", "b"]


def test_a_users_module_comes_before_an_installed_one(tmp_path: Path, loaded: Load) -> None:
    write(tmp_path, {"site-packages/nearby.py": "WIDTH = 'installed'\n"})
    write(tmp_path, {"a/net.py": NET, "b/net.py": NET, "b/nearby.py": "WIDTH = 'own'\n"})
    assert [loaded(f"{name}/net.py").WIDTH for name in "ab"] == ["installed", "own"]


def test_a_module_named_as_one_of_the_library_is_in_no_ones_way(
    tmp_path: Path, loaded: Load
) -> None:
    write(tmp_path, {"a/queue.py": "WIDTH = 1\n", "b/net.py": "import queue\n"})
    assert loaded("a/queue.py").WIDTH == 1
    assert loaded("b/net.py").queue is queue


def test_what_stands_behind_a_namesake_is_not_found_by_its_name(
    tmp_path: Path, loaded: Load
) -> None:
    """A file that its dotted name does not lead to, as where its package says otherwise."""
    init = "import os\n__path__ = [os.path.join(os.path.dirname(__file__), 'real')]\n"
    write(
        tmp_path, {"pkg/__init__.py": init, "pkg/net.py": "A = 1\n", "pkg/real/net.py": "A = 2\n"}
    )
    write(tmp_path, {"user.py": "from pkg.net import A\n"})
    job = Job(str(tmp_path / "pkg/net.py"), "pkg.net", str(tmp_path), ())
    assert load(job, Finder(())).A == 1
    assert loaded("user.py").A == 2
