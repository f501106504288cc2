"""Files are imported under the name, and from the folder, that their project uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from bncodemod.verify.roots import Place, places


def placed(root: Path, files: dict[str, str]) -> dict[str, Place]:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = places({str(root / name): text.encode() for name, text in files.items()})
    return {name: found[str(root / name)] for name in files}


def test_a_package_is_imported_from_above_it(tmp_path: Path) -> None:
    names = ["src/pkg/__init__.py", "src/pkg/sub/__init__.py", "src/pkg/sub/net.py"]
    found = placed(tmp_path, dict.fromkeys(names, ""))
    root = str(tmp_path / "src")
    assert found["src/pkg/sub/net.py"] == Place("pkg.sub.net", root)
    assert found["src/pkg/sub/__init__.py"] == Place("pkg.sub", root)


def test_a_script_is_imported_from_its_folder(tmp_path: Path) -> None:
    found = placed(tmp_path, {"my-scripts/train-it.py": "import torch"})
    assert found["my-scripts/train-it.py"] == Place("train-it", str(tmp_path / "my-scripts"))


def test_leading_dots_make_a_folder_a_package(tmp_path: Path) -> None:
    found = placed(tmp_path, {"a/b/net.py": "from ..c import x\nfrom .d import y\n"})
    assert found["a/b/net.py"] == Place("a.b.net", str(tmp_path))


def test_a_folder_above_counts_where_an_import_is_found_there(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    train = "from models import net\nimport helpers\n"
    files = {"tools/train.py": train, "tools/helpers.py": "", "models/net.py": ""}
    found = placed(tmp_path, files)
    assert found["tools/train.py"].folders == (str(tmp_path),)
    assert found["models/net.py"].folders == ()


def test_a_file_of_a_package_may_find_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    files = {"pkg/__init__.py": "", "pkg/net.py": "import blocks\n", "pkg/blocks.py": ""}
    found = placed(tmp_path, files)
    assert found["pkg/net.py"] == Place("pkg.net", str(tmp_path), (str(tmp_path / "pkg"),))


@pytest.mark.parametrize("name", ["logging", "torch"])
def test_a_folder_of_a_librarys_name_does_not_count(tmp_path: Path, name: str) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    found = placed(tmp_path, {"tools/train.py": f"import {name}\n", f"{name}/x.py": ""})
    assert found["tools/train.py"].folders == ()
