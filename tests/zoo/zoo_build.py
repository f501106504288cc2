"""Worker: builds a package's registered models and says which line constructed each norm.

``python zoo_build.py ROOT PACKAGE OUT [MODELS]``, where MODELS is a JSON list of names. Norms that
code outside of the copies constructs (timm's, where only smp is rewritten) are told apart.
"""

from __future__ import annotations

import gc
import json
import pathlib
import sys
from collections import Counter
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from zoo_import import LayersOnMeta, import_package
from zoo_packages import Builder

try:
    from opacus.validators import ModuleValidator
except ImportError:
    ModuleValidator = None

Frame = tuple[str, int, int]  # file relative to the root, first and last line of the call
# Frames in the copies, innermost first; before them the line of another package, if one of that
# is closer to the norm.
Chain = tuple[str, tuple[Frame, ...]]
TORCH = f"{pathlib.Path(torch.__file__).parent}/"
SITE_PACKAGES = f"{pathlib.Path(torch.__file__).parents[1]}/"


class Recorder:
    """Hooks the constructor of every batch and instance norm."""

    def __init__(self, root: pathlib.Path) -> None:
        self.prefix = f"{root}/"
        self.chains: dict[Chain, int] = {}
        original = _NormBase.__init__
        record = self.record

        def init(norm: Any, *args: Any, **kwargs: Any) -> None:
            original(norm, *args, **kwargs)
            norm.constructed_by = record(sys._getframe(1))

        _NormBase.__init__ = init  # type: ignore[method-assign]

    def record(self, frame: FrameType | None) -> int:
        """The number of the chain of package frames above this one."""
        outside = ""
        found: list[Frame] = []
        while frame is not None:
            path = frame.f_code.co_filename
            if path.startswith(self.prefix):
                found.append((path[len(self.prefix) :], *call_lines(frame)))
            elif not found and not outside and not path.startswith(TORCH):
                if path.startswith(SITE_PACKAGES):
                    outside = f"{path[len(SITE_PACKAGES) :]}:{frame.f_lineno}"
            frame = frame.f_back
        return self.chains.setdefault((outside, tuple(found)), len(self.chains))


def call_lines(frame: FrameType) -> tuple[int, int]:
    """First and last line of the call that a frame is in."""
    if sys.version_info >= (3, 11):
        positions = list(frame.f_code.co_positions())[frame.f_lasti // 2]
        if positions[0] is not None and positions[1] is not None:
            return positions[0], positions[1]
    return frame.f_lineno, frame.f_lineno


def build(make: Builder) -> nn.Module:
    try:
        with torch.device("meta"):
            return make()
    except Exception:
        with LayersOnMeta():
            return make()


def complaints(model: nn.Module) -> int | None:
    """How many batch norms Opacus' validator finds; None without Opacus."""
    if ModuleValidator is None:
        return None
    errors = ModuleValidator.validate(model.train(), strict=False)
    return sum("BatchNorm" in str(error) for error in errors)


def describe(model: nn.Module) -> dict[str, Any]:
    """Norms by chain of construction: all of them, and those that keep running stats."""
    norms = [m for m in model.modules() if isinstance(m, _NormBase)]
    left = [m for m in norms if m.track_running_stats and m.running_mean is not None]
    other = [
        type(m).__name__
        for m in model.modules()
        if not isinstance(m, _NormBase) and "running_var" in m._buffers
    ]
    return {
        "norms": len(norms),
        "group_norms": sum(isinstance(m, nn.GroupNorm) for m in model.modules()),
        "left": Counter(getattr(m, "constructed_by", -1) for m in left),
        "classes": Counter(type(m).__name__ for m in left),
        "other_running_stats": Counter(other),
        "opacus": complaints(model),
    }


def main(root: str, package: str, out: str, models: str | None = None) -> None:
    recorder = Recorder(pathlib.Path(root))
    zoo = import_package(pathlib.Path(root), package)
    registered = zoo.names()
    gc.freeze()  # what was imported stays, and need not be looked at after every model
    chosen = json.loads(pathlib.Path(models).read_text()) if models else registered
    results: dict[str, Any] = {}
    for name in chosen:
        try:
            results[name] = describe(build(zoo.builder(name)))
        except Exception as error:
            results[name] = {"error": f"{type(error).__name__}: {error}"[:300]}
        gc.collect()
    data = {
        "registered": {name: zoo.family(name) for name in registered},
        "models": results,
        "chains": list(recorder.chains),
    }
    pathlib.Path(out).write_text(json.dumps(data))


if __name__ == "__main__":
    main(*sys.argv[1:])
