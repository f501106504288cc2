"""What the rest of the project says about names that a file imports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ProjectIndex:
    """Names defined in other files of the sweep.

    ``names`` maps the qualified name of a project's symbol to the qualified name of what it
    stands for: ``{"pkg.norms.BN": "torch.nn.BatchNorm2d"}``.
    """

    names: Mapping[str, str] = field(default_factory=dict)


EMPTY_INDEX = ProjectIndex()
