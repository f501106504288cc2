"""What the user gains on a GPU: vmap against the loop, for each model of a rewritten package.

``python benchmarks/verify_gpu.py [--package torchvision] [--below models/resnet.py ...]`` copies
an installed package, rewrites the copy, verifies it and prints medians in milliseconds: vmap over
8 and 32 batches, and ensembles of 8 and 32 models, each against its loop. ``--device cpu`` runs
the same without a GPU, 8 only. A package that does not import beside this torch can be made to by
``--examples`` (docs/verify.md).
"""

from __future__ import annotations

import argparse
import importlib.util
import pathlib
import shutil
import tempfile

from bncodemod.model import FileResult
from bncodemod.report.verification_text import summary, table
from bncodemod.settings import load_configuration
from bncodemod.sweep.run import sweep
from bncodemod.verify import verify_paths
from bncodemod.verify.options import Options


def rewritten_copy(
    package: str, folder: pathlib.Path, strategy: str
) -> tuple[pathlib.Path, list[FileResult]]:
    """A copy of an installed package, rewritten, and what the rewrite did."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    ignored = shutil.ignore_patterns("__pycache__")
    copy = shutil.copytree(spec.submodule_search_locations[0], folder / package, ignore=ignored)
    return copy, list(sweep([copy], load_configuration([copy], {"strategy": strategy}), write=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", default="torchvision")
    parser.add_argument("--below", nargs="*", default=["models"], help="files or folders in it")
    parser.add_argument("--strategy", default="no-running-stats")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--examples", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copy, _ = rewritten_copy(options.package, pathlib.Path(folder), options.strategy)
        found = verify_paths(
            [copy / below for below in options.below],
            Options(device=options.device, time=True, examples=options.examples),
        )
    print(f"{options.package}, {options.strategy}, on {found.device}: {found.versions}")
    for line in table(found):
        print(line)
    for spans in summary(found):
        print("".join(text for text, _ in spans))


if __name__ == "__main__":
    main()
