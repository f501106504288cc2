"""What stops a migration, in words for its user."""

from __future__ import annotations


class CheckpointError(Exception):
    """A checkpoint that cannot be read, mapped or written; nothing was changed."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
