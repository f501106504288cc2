"""How many of a package's modules with norms are built and run on meta without any spec."""

from __future__ import annotations

import argparse
import importlib
import inspect
import pathlib
import sys
import time
from collections.abc import Iterator

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests"))


def modules(root: pathlib.Path, packages: list[str]) -> Iterator[str]:
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=pathlib.Path, help="the folder that holds the packages")
    parser.add_argument("packages", nargs="+", help="as torchvision/models")
    parser.add_argument("--functions", type=int, default=1000, help="at most, of one module")
    parser.add_argument("--only", default="", help="modules whose name contains this")
    options = parser.parse_args()
    sys.path.insert(0, str(options.root))
    import torch

    import torchvision_import
    from bncodemod.verify.harvest import Harvest
    from bncodemod.verify.model import Job
    from bncodemod.verify.parts import has_norms
    from bncodemod.verify.prepare import prepare
    from bncodemod.verify.promises import builds_module
    from bncodemod.verify.refusal import Refusal

    torch.set_num_threads(1)
    torchvision_import.prepare()
    ran = total = 0
    seconds = 0.0
    harvest = Harvest([str(options.root)])
    for name in modules(options.root, options.packages):
        if options.only not in name:
            continue
        try:
            module = importlib.import_module(name)
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {error}")
            continue
        job = Job(str(module.__file__), name, str(options.root), ())
        candidates = [
            (key, value)
            for key, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", "") == name
            if inspect.isclass(value) or inspect.isfunction(value)
            if builds_module(value)
        ]
        functions = [pair for pair in candidates if inspect.isfunction(pair[1])]
        functions.sort(key=lambda pair: pair[0].startswith("_"))
        classes = [pair for pair in candidates if inspect.isclass(pair[1])]
        candidates = functions[: options.functions] + classes
        for key, value in candidates:
            start = time.process_time()
            with harvest:
                outcome = prepare(value, key, module, job, harvest, has_norms)
            took = time.process_time() - start
            seconds += took
            total += 1
            if isinstance(outcome, Refusal) and "none of the norms" in outcome.reason:
                total -= 1
            elif isinstance(outcome, Refusal):
                print(f"NO  {took:5.1f} {name}.{key}: {outcome.reason[:300]}")
            else:
                ran += 1
                how = outcome.constructed.how.name
                print(
                    f"yes {took:5.1f} {name}.{outcome.constructed.call[:120]} "
                    f"{how}: {outcome.inputs.text[:150]}"
                )
    print(f"{ran} of {total} candidates run, {seconds:.1f} s")


if __name__ == "__main__":
    main()
