"""The measured data files of this package."""

from __future__ import annotations

from typing import Any


def load(name: str) -> dict[str, Any]:
    """The contents of one file; what reads it is imported only by a run that needs it."""
    import json
    from importlib import resources

    text = (resources.files(__package__) / name).read_text(encoding="utf-8")
    data: dict[str, Any] = json.loads(text)
    return data
