"""Which files a file imports, and whether it has to do with norms or transforms."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bncodemod.scan.index import EMPTY_INDEX
from bncodemod.scan.outline import Imported, Outline
from bncodemod.scan.prefilter import may_hold_site, may_hold_transform

_IMPORT = re.compile(rb"^[ \t]*import[ \t]+([^\n#;]*)", re.MULTILINE)
_DOTTED = re.compile(rb"\w+(?:\.\w+)+")


@dataclass(frozen=True, slots=True)
class Links:
    """``matters`` says whether a file may hold a norm or a transform, ``builds`` a norm.

    ``flat`` says whether it names BatchNorm1d.
    """

    builds: bool
    flat: bool
    matters: bool
    imports: tuple[Imported, ...]


def links_of(data: bytes) -> Links:
    """The imports of a file, by its bytes."""
    outline = Outline(data)
    imports = [*(item for _, item in outline.imports), *outline.called]
    for names in _IMPORT.findall(data):
        imports += (Imported(name.decode(), 0, "") for name in _DOTTED.findall(names))
    builds = may_hold_site(data, EMPTY_INDEX)
    flat = b"BatchNorm1d" in data
    return Links(builds, flat, builds or may_hold_transform(data), tuple(dict.fromkeys(imports)))
