"""Makes ``import torchvision`` work beside a CPU-only torch.

torchvision's wheel is linked to CUDA's libraries, so its C extension does not load there and
``import torchvision`` fails with ``operator torchvision::nms does not exist``. Declaring the two
operators is enough for ``torchvision.models``: detectors can be built, their nms not called.
"""

from __future__ import annotations

import importlib.util
import pathlib
from typing import Any

import torch

_library: Any = None  # torch.library.Library: the operators live as long as it does


def prepare() -> None:
    """Declare the operators if torchvision cannot bring its own. Call before importing it."""
    global _library
    if _library is not None or _extension_loads():
        return
    _library = torch.library.Library("torchvision", "DEF")
    _library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def _extension_loads() -> bool:
    """Whether torchvision's own operators can be loaded; where they can, they now are."""
    spec = importlib.util.find_spec("torchvision")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for extension in pathlib.Path(folder).glob("_C*.so"):
            try:
                torch.ops.load_library(str(extension))
            except OSError:
                continue
            return True
    return False
