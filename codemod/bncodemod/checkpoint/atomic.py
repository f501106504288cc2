"""A new file that is there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import BinaryIO

from bncodemod.checkpoint.errors import CheckpointError

_FLAGS = (
    os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)


@contextlib.contextmanager
def new_file(path: str, *, force: bool) -> Iterator[BinaryIO]:
    """A stream whose content becomes the file ``path`` when the block ends without an error.

    An existing file is replaced only with ``force``; a symbolic link to one stays, what it points
    to is replaced. Raises CheckpointError, and leaves no litter.
    """
    target = os.path.realpath(path)
    temporary = os.path.join(os.path.dirname(target), f".bncodemod-{os.urandom(8).hex()}")
    try:
        with open(os.open(temporary, _FLAGS, 0o666), "w+b") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if os.path.lexists(target):
            # Also one that has come into being in the meantime.
            check_free(path, force=force)
            os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
        os.replace(temporary, target)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def check_free(path: str, *, force: bool) -> None:
    """Raise CheckpointError where writing ``path`` would destroy something."""
    if os.path.isdir(path):
        raise CheckpointError(f"{path} is a folder", remedy="name a file")
    if os.path.lexists(path) and not force:
        raise CheckpointError(f"{path} exists", remedy="name another file, or add --force")
