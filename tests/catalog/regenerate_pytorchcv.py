"""Measures the installed pytorchcv for ``codemod/bncodemod/catalog/pytorchcv.json``.

``python tests/catalog/regenerate_pytorchcv.py`` builds every model of ``get_model`` on the meta
device and writes the file anew (two minutes); ``--check`` only says whether it would change. Models
that cannot be built there, because they need another package, are left out.
"""

# ruff: noqa: E402  (torchvision can be imported only once torchvision_import has run)
from __future__ import annotations

import pathlib
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from typing import Any

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[n]) for n in (0, 1)]

import torchvision_import

torchvision_import.prepare()

from measuring import attempt, tracked, write
from pytorchcv import model_provider

FILE, KEY = "pytorchcv.json", "groups"


def measure(names: Iterable[str] | None = None) -> Iterator[dict[str, Any]]:
    """The models with batch norm and those without."""
    found: dict[str, list[str]] = {"no norms": [], "refused": []}
    for name in sorted(model_provider._models) if names is None else names:
        built = attempt(model_provider.get_model, name)
        if not isinstance(built, Exception):
            found["refused" if tracked(built) else "no norms"].append(name)
    for effect, models in found.items():
        yield {"effect": effect, "models": models}


def main() -> int:
    check = "--check" in sys.argv[1:]
    return write(FILE, version("pytorchcv"), KEY, measure(), check=check)


if __name__ == "__main__":
    sys.exit(main())
