"""Which file an import means: Python's own rules, and what is left open by them."""

from __future__ import annotations

import pytest

from bncodemod.scan.modules import AMBIGUOUS, ModuleMap


class Listing:
    """Files by their names, none of which is on the disk."""

    def __init__(self, *files: str) -> None:
        self.files = frozenset(f"/p/{file}" for file in files)
        self.folders = {
            "/".join(file.split("/")[:depth])
            for file in self.files
            for depth in range(2, file.count("/") + 1)
        }

    def is_file(self, path: str) -> bool:
        return path in self.files

    def is_folder(self, path: str) -> bool:
        return path in self.folders

    def all(self) -> list[str]:
        return sorted(self.files)


def resolved(importer: str, module: str, level: int, *files: str) -> str | None:
    found = ModuleMap(Listing(importer, *files)).resolve(f"/p/{importer}", module, level)
    return found.removeprefix("/p/") if found else found


@pytest.mark.parametrize(
    ("importer", "module", "level", "files", "found"),
    [
        pytest.param("a.py", "b", 0, ["b.py"], "b.py", id="beside a script"),
        pytest.param("pkg/a.py", "b", 1, ["pkg/b.py"], "pkg/b.py", id="relative"),
        pytest.param(
            "pkg/sub/a.py", "b.c", 2, ["pkg/b/c.py"], "pkg/b/c.py", id="relative, one folder up"
        ),
        pytest.param("pkg/__init__.py", "b", 1, ["pkg/b.py"], "pkg/b.py", id="in an __init__"),
        pytest.param("pkg/a.py", "", 1, ["pkg/__init__.py"], "pkg/__init__.py", id="package"),
        pytest.param(
            "a.py", "b", 0, ["b.py", "b/__init__.py"], "b/__init__.py", id="package first"
        ),
        pytest.param("a.py", "ns.b", 0, ["ns/b.py"], "ns/b.py", id="in a namespace package"),
        pytest.param("a.py", "ns", 0, ["ns/b.py"], "ns/", id="a namespace package"),
        pytest.param(
            "src/pkg/sub/a.py",
            "pkg.b",
            0,
            ["src/pkg/__init__.py", "src/pkg/sub/__init__.py", "src/pkg/b.py"],
            "src/pkg/b.py",
            id="absolute, from within the package",
        ),
        pytest.param(
            "tools/deep/a.py", "pkg.b", 0, ["pkg/b.py"], "pkg/b.py", id="from a folder above"
        ),
        pytest.param(
            "tools/b/x.py",
            "b",
            0,
            ["b/__init__.py"],
            "b/__init__.py",
            id="a package further up comes before a namespace package",
        ),
        pytest.param("tools/a.py", "b", 0, ["lib/b.py"], "lib/b.py", id="only one has the name"),
        pytest.param(
            "tools/a.py", "b", 0, ["lib/b.py", "old/b.py"], AMBIGUOUS, id="two have the name"
        ),
        pytest.param("a.py", "os", 0, ["lib/os.py"], None, id="the standard library"),
        pytest.param("a.py", "torch.nn", 0, ["lib/torch/nn.py"], None, id="an installed one"),
        pytest.param(
            "a.py", "torch.nn", 0, ["torch/__init__.py", "torch/nn.py"], "torch/nn.py", id="shadow"
        ),
        pytest.param(
            "torch/train.py", "torch.nn", 0, ["torch/nn.py"], None, id="a folder named torch"
        ),
        pytest.param("a.py", "missing", 0, [], None, id="not in the project"),
        pytest.param("a.py", "b", 4, ["b.py"], None, id="above the project"),
    ],
)
def test_resolve(
    importer: str, module: str, level: int, files: list[str], found: str | None
) -> None:
    assert resolved(importer, module, level, *files) == found


def test_torch_itself_is_no_shadow() -> None:
    files = ["torch/__init__.py", "torch/nn/__init__.py", "torch/nn/modules/batchnorm.py"]
    assert resolved("torch/nn/functional.py", "torch.nn", 0, *files) is None


def test_nearby_does_not_look_through_the_whole_project() -> None:
    modules = ModuleMap(Listing("tools/a.py", "lib/b.py"))
    assert modules.resolve("/p/tools/a.py", "b", 0, nearby=True) is None
    assert modules.resolve("/p/tools/a.py", "b", 0) == "/p/lib/b.py"


def test_a_module_has_submodules_only_if_it_is_a_package() -> None:
    modules = ModuleMap(Listing("pkg/__init__.py", "pkg/b.py", "c.py"))
    assert modules.submodule("/p/pkg/__init__.py", "b") == "/p/pkg/b.py"
    assert modules.submodule("/p/pkg/", "b") == "/p/pkg/b.py"
    assert modules.submodule("/p/c.py", "b") is None
