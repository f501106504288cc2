"""The pure core: bytes, settings and index in; bytes and findings out."""

from __future__ import annotations

from bncodemod.model import FileResult
from bncodemod.scan.index import EMPTY_INDEX, Evaluation, ProjectIndex
from bncodemod.scan.prefilter import may_hold_site, may_hold_transform
from bncodemod.settings import Settings
from bncodemod.source.errors import SourceError, TooComplex
from bncodemod.source.text import SourceText

# A syntax tree takes a hundred times the room of its text.
MAX_BYTES = 5_000_000


def rewrite(
    data: bytes, path: str, settings: Settings, index: ProjectIndex = EMPTY_INDEX
) -> FileResult:
    """Rewrite one file's bytes; never raises for bad input, which comes back as errors.

    ``path`` only names the file in findings: nothing is read from the disk.
    """
    matters = may_hold_site(data, index) or may_hold_transform(data)
    if not matters and not index.brings_models:
        return FileResult(path, data)
    # What follows needs LibCST and all rules: a file without a site must not pay for them.
    from bncodemod.engine import rewrite_text

    try:
        source = _decoded(data)
        text, findings = rewrite_text(source, path, settings, index)
    except SourceError as error:
        return FileResult(path, data, errors=(error.at(path),))
    after = None if text == source.text else source.encode(text)
    return FileResult(path, data, after, tuple(findings))


def changes_state_dicts(data: bytes, settings: Settings, index: ProjectIndex = EMPTY_INDEX) -> bool:
    """Whether a file builds models that an older checkpoint does not fit, before its rewrite or
    only after it."""
    # A GroupNorm may be what a rewrite has made of a batch norm.
    if not may_hold_site(data, index) and (settings.keeps_batch_norm or b"GroupNorm" not in data):
        return False
    from bncodemod import engine

    try:
        return engine.changes_state_dicts(_decoded(data), settings, index)
    except SourceError:
        return False  # said of the file itself, which is not rewritten


def evaluated(data: bytes, settings: Settings, index: ProjectIndex = EMPTY_INDEX) -> Evaluation:
    """What a file runs under transforms, and whether that can be in eval mode."""
    from bncodemod import engine

    try:
        return engine.evaluated(_decoded(data), settings, index)
    except SourceError:
        return Evaluation()  # it cannot be read: that is said of the file itself


def loaded_makers(
    data: bytes, settings: Settings, index: ProjectIndex = EMPTY_INDEX
) -> frozenset[str]:
    """The names by which a file gets the models that it loads weights into strictly.

    Empty is the name of a model that is not known. There are none where the file itself builds
    norms that are rewritten: then it speaks for itself.
    """
    from bncodemod import engine

    try:
        return engine.loaded_makers(_decoded(data), settings, index)
    except SourceError:
        return frozenset()


def _decoded(data: bytes) -> SourceText:
    if len(data) > MAX_BYTES:
        raise TooComplex(
            f"the file has {len(data) / 1e6:.0f} MB, more than the {MAX_BYTES / 1e6:.0f} MB"
            " that are parsed",
            remedy="exclude the file, or move its data out of the source",
        )
    return SourceText.decode(data)
