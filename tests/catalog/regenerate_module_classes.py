"""Reads libraries for ``codemod/bncodemod/catalog/module_classes.json``.

``python tests/catalog/regenerate_module_classes.py DIR…`` takes each library of the file from the
first of the folders, such as site-packages, that holds it, and keeps what is in none of them;
``--check`` only says whether the file would change.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from reading_libraries import Library

FILE = Path(__file__).resolve().parents[2] / "codemod/bncodemod/catalog/module_classes.json"


def entry(library: str, folder: Path) -> dict[str, Any]:
    """What the file says of a library that is installed in a folder."""
    (info,) = (
        path
        for path in folder.glob("*.dist-info")
        if f"\n{library}/" in "\n" + (path / "RECORD").read_text(encoding="utf-8")
    )
    version = info.name.removesuffix(".dist-info").rpartition("-")[2]
    return {
        "library": library,
        "version": version,
        "classes": Library(folder / library).names(),
    }


def dump(entries: list[dict[str, Any]]) -> str:
    """The text of the data file, with one module a line."""
    parts = []
    for said in entries:
        head = f'{{"library": {json.dumps(said["library"])}, "version": "{said["version"]}"'
        classes = said["classes"].items()
        lines = ",\n".join(f"{json.dumps(m)}: {json.dumps(names)}" for m, names in classes)
        parts.append(f'{head}, "classes": {{\n{lines}\n}}}}')
    return '{"libraries": [\n' + ",\n".join(parts) + "\n]}\n"


def rendered(folders: list[Path]) -> str:
    """The file anew, from what the folders hold."""
    entries = []
    for said in json.loads(FILE.read_text(encoding="utf-8"))["libraries"]:
        holding = [f for f in folders if (f / said["library"]).is_dir()]
        entries.append(entry(said["library"], holding[0]) if holding else said)
    return dump(entries)


def main() -> int:
    text = rendered([Path(argument) for argument in sys.argv[1:] if argument != "--check"])
    if "--check" in sys.argv[1:]:
        return int(text != FILE.read_text(encoding="utf-8"))
    FILE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
