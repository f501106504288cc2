"""Projects that are large, broken or tangled: decided or reported, and always an end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bncodemod.model import FileResult, Status
from bncodemod.settings import Configuration
from bncodemod.sweep import project_files
from bncodemod.sweep.project_files import absolute, project_root
from bncodemod.sweep.run import rewrite_data, sweep

NORMS = "from torch.nn import BatchNorm2d as Norm\n"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fill(files: dict[str, str]) -> None:
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)


def swept(*paths: str, **changes: bool) -> dict[str, FileResult]:
    results = sweep(paths, Configuration(os.getcwd(), **changes), write=False, jobs=1)
    return {result.path: result for result in results}


def after(result: FileResult) -> str:
    return (result.after or result.before).decode()


def test_every_file_imports_every_other() -> None:
    """A name that comes through a thousand files that all star-import each other."""
    count = 300
    files = {
        f"m{i}.py": "".join(f"from m{j} import *\n" for j in range(count) if j != i)
        for i in range(count)
    }
    fill({**files, "m0.py": files["m0.py"] + NORMS, "use.py": "from m299 import *\nx = Norm(3)\n"})
    found = swept(".")
    assert "Norm(3, track_running_stats=False)" in after(found["use.py"])
    assert set(found) == {"use.py"}


def test_a_ring_of_many_files() -> None:
    """Ten thousand files, each of which imports a norm from the next: no end, and no norm."""
    count = 10_000
    fill({f"r{i}.py": f"from r{(i + 1) % count} import BatchNorm2d\n" for i in range(count)})
    found = swept(".")
    assert {f.status for r in found.values() for f in r.findings} == {Status.OPEN}


def test_a_chain_that_is_too_long_is_reported() -> None:
    fill({f"c{i}.py": f"from c{i + 1} import BatchNorm2d\n" for i in range(150)})
    fill({"c150.py": "from torch.nn import BatchNorm2d\n"})
    fill({"near.py": "from c100 import BatchNorm2d\nx = BatchNorm2d(3)\n"})
    fill({"far.py": "from c1 import BatchNorm2d\nx = BatchNorm2d(3)\n"})
    found = swept(".")
    assert "track_running_stats=False" in after(found["near.py"])
    assert [f.code for f in found["far.py"].findings if f.status is Status.OPEN] == ["BN203"]


def test_a_value_that_goes_too_far_is_reported() -> None:
    """Each file hands the class to the next; the last one passes the flag by position."""
    files = {
        f"v{i}.py": f"from v{i + 1} import f as g\ndef f(c, norm): return g(c, norm)\n"
        for i in range(50)
    }
    last = "def f(c, norm): return norm(c, 1e-5, 0.1, True, True)\n"
    use = "from torch import nn\nfrom v0 import f\nf(8, nn.BatchNorm2d)\n"
    fill({**files, "v50.py": last, "use.py": use})
    (finding,) = swept(".")["use.py"].findings
    assert finding.status is Status.OPEN
    assert "cannot be followed" in finding.message


def test_a_broken_file_in_between_costs_what_it_hides() -> None:
    fill({"norms.py": NORMS + "x = (\n", "use.py": "from norms import Norm\nx = Norm(3)\n"})
    found = swept(".")
    assert [error.code for error in found["norms.py"].errors] == ["BN901"]
    assert "use.py" not in found


def test_a_file_outside_the_named_ones_is_read_and_left_alone() -> None:
    fill({"lib/norms.py": NORMS, "app/use.py": "from lib.norms import Norm\nx = Norm(3)\n"})
    found = swept("app")
    assert "Norm(3, track_running_stats=False)" in after(found["app/use.py"])
    assert set(found) == {"app/use.py"}
    assert swept("app", project=False) == {}


def test_standard_input_counts_and_not_what_stands_on_the_disk() -> None:
    fill({"norms.py": "from torch import nn\n\n\nclass S(nn.BatchNorm2d):\n    pass\n"})
    fill({"m.py": "x = 1\n"})
    data = b"from torch.nn import BatchNorm2d\nfrom norms import S\nx = S(8)\n"
    found = rewrite_data(data, "m.py", Configuration(os.getcwd()))
    assert found is not None
    assert "S(8, track_running_stats=False)" in after(found)


def test_an_import_that_may_fail_and_what_stands_in_for_it_are_reported() -> None:
    fill(
        {
            "norms.py": "try:\n    from torch.nn import BatchNorm2d as Norm\n"
            "except ImportError:\n    def Norm(c):\n        return c\n",
            "use.py": "from norms import Norm\nx = Norm(3)\n",
        }
    )
    found = swept(".")["use.py"]
    assert found.after is None
    assert [(f.code, f.status) for f in found.findings] == [("BN203", Status.OPEN)]


def test_several_roots_in_one_sweep() -> None:
    fill({"one/norms.py": NORMS, "two/use.py": "from one.norms import Norm\nx = Norm(3)\n"})
    assert "Norm(3, track_running_stats=False)" in after(swept("two", "one")["two/use.py"])


def test_a_project_ends_where_its_repository_does(project: Path) -> None:
    fill({"a/b/c.py": "", "other/.git/x": "", "other/pkg/__init__.py": "", "other/pkg/m.py": ""})
    assert project_root(absolute("a/b/c.py")) == str(project)
    assert project_root(absolute("other/pkg/m.py")) == str(project / "other")


def test_a_project_without_a_repository(tmp_path: Path) -> None:
    (tmp_path / ".git").rmdir()
    fill({"pkg/__init__.py": "", "pkg/sub/__init__.py": "", "pkg/sub/m.py": ""})
    assert project_root(absolute("pkg/sub/m.py")) == str(tmp_path / "pkg")
    assert project_root(absolute("script.py")) == str(tmp_path)
    fill({"setup.py": ""})
    assert project_root(absolute("pkg/sub/m.py")) == str(tmp_path)


LIBRARIES = {
    "zoo.py": "import segmentation_models_pytorch as smp\nfrom torchvision import models\n"
    "from timm import create_model\n",
    "stars.py": "from torchvision.models import *\n",
    "again.py": "from zoo import create_model as build\nimport zoo as z\n",
}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("import zoo\nx = zoo.models.resnet18()\n", "BN106"),
        ("from zoo import models as m\nx = m.resnet18()\n", "BN106"),
        ("from stars import resnet18 as r\nx = r()\n", "BN106"),
        ("from stars import *\nx = resnet18()\n", "BN106"),
        ("from again import build\nx = build(name)\n", "BN107"),
        ("from again import z\nx = z.create_model('resnet18')\n", "BN110"),
        ("from zoo import smp\nx = smp.Unet()\n", "BN107"),
    ],
)
def test_builders_of_libraries_by_way_of_a_file_of_the_project(text: str, code: str) -> None:
    fill({**LIBRARIES, "use.py": text})
    found = swept(".")["use.py"]
    assert [finding.code for finding in found.findings] == [code]
    assert swept("use.py")["use.py"] == found


def test_a_module_that_every_second_file_exports_is_no_reason_to_read_the_others() -> None:
    fill({"a.py": "import torch.nn as nn\n", "use.py": "from a import nn\nx = nn.Linear(1, 1)\n"})
    assert swept(".") == {}


def test_norms_of_an_ignored_file() -> None:
    """What can be dealt with where it is built is; all else is reported where it comes in."""
    fill(
        {
            ".gitignore": "gen/\n",
            "gen/norms.py": "from torch import nn\n\nNorm = nn.BatchNorm2d\n\n\n"
            "class Plain(nn.BatchNorm2d):\n    pass\n\n\n"
            "class Sized(nn.BatchNorm2d):\n    def __init__(self, c):\n"
            "        super().__init__(c)\n",
            "use.py": "from gen.norms import Norm, Plain, Sized\n\n"
            "x = [Norm(8), Plain(8), Sized(8)]\n",
        }
    )
    found = swept(".")["use.py"]
    off = "track_running_stats=False"
    assert f"[Norm(8, {off}), Plain(8, {off}), Sized(8)]" in after(found)
    (said,) = [f for f in found.findings if f.status is Status.OPEN]
    assert (said.code, said.line) == ("BN207", 1)
    assert "gen/norms.py, which is ignored" in said.message
    assert swept("use.py")["use.py"] == found


def test_a_name_that_only_a_src_folder_has_is_found_by_a_hook() -> None:
    fill(
        {
            "src/pkg/__init__.py": "from .norms import S\n",
            "src/pkg/norms.py": "from torch import nn\n\n\nclass S(nn.BatchNorm2d):\n    pass\n",
            "app/use.py": "from pkg import S\nx = S(8)\n",
        }
    )
    together = swept(".")["app/use.py"]
    assert "S(8, track_running_stats=False)" in after(together)
    assert swept("app/use.py")["app/use.py"] == together


def test_a_norm_of_monai_that_another_file_names_is_reported() -> None:
    fill(
        {
            "settings.py": 'NORM = "batch"\n',
            "use.py": "from monai.networks.blocks import Convolution\nfrom settings import NORM\n"
            "x = Convolution(2, 8, 2, norm=NORM)\n",
        }
    )
    assert [(f.code, f.status) for f in swept(".")["use.py"].findings] == [("BN109", Status.OPEN)]


def test_a_project_of_too_many_files_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project_files, "MAX_AROUND", 2)
    fill({f"m{i}.py": "x = 1\n" for i in range(4)})
    fill({"norms.py": "from torch import nn\nNorm = nn.BatchNorm2d\n"})
    notes: list[str] = []
    list(sweep(["norms.py"], Configuration(os.getcwd()), write=False, jobs=1, notes=notes))
    assert len(notes) == 1
