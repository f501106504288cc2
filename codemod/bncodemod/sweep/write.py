"""Puts rewritten bytes in a file's place: wholly or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from bncodemod.source.errors import Unwritable

_FLAGS = (
    os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)


def replace(path: str | os.PathLike[str], before: bytes, after: bytes) -> None:
    """Put ``after`` in the place of ``before``, which the file must still hold.

    The new content is written to a temporary file in the same folder, reaches the disk and is
    renamed over the old: whoever looks, and whenever the process is killed, sees one or the other.
    Mode, owner and extended attributes are kept as far as permitted. A symbolic link stays; what
    it points to is replaced.

    Raises Unwritable; the file then holds what it held.
    """
    target = os.path.realpath(path)
    try:
        status = os.stat(target)
        _check(target, status)
        temporary = os.path.join(os.path.dirname(target), f".bncodemod-{os.urandom(8).hex()}")
        try:
            _write(temporary, after, target, status)
            # As late as can be: between this and the rename lies no other work.
            if _read(target) != before:
                raise Unwritable(
                    "the file changed while bncodemod ran", remedy="run bncodemod again"
                )
            os.replace(temporary, target)
        except BaseException:  # KeyboardInterrupt too leaves no litter
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise _unwritable(error) from None


def _check(target: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise Unwritable("not a regular file", remedy="name a file or a folder")
    if status.st_nlink > 1:
        raise Unwritable(
            f"the file has {status.st_nlink} hard links, which a rewrite would part",
            remedy="replace the hard link by a copy or a symbolic link, then run bncodemod again",
        )
    # A rename asks for no right to the file itself, but a read-only file means what it says.
    if not os.access(target, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise PermissionError(errno.EACCES, "the file is read-only")


def _write(temporary: str, data: bytes, target: str, status: os.stat_result) -> None:
    with open(os.open(temporary, _FLAGS, 0o600), "wb") as stream:
        stream.write(data)
        stream.flush()
        _keep(stream.fileno(), temporary, target, status)
        os.fsync(stream.fileno())


def _keep(descriptor: int, temporary: str, target: str, status: os.stat_result) -> None:
    """Give the new file the old one's owner, attributes and mode, as far as permitted."""
    if hasattr(os, "fchown"):
        with contextlib.suppress(OSError):
            os.fchown(descriptor, -1, status.st_gid)
        with contextlib.suppress(OSError):
            os.fchown(descriptor, status.st_uid, -1)
    if hasattr(os, "listxattr"):
        with contextlib.suppress(OSError):
            for name in os.listxattr(target):
                os.setxattr(descriptor, name, os.getxattr(target, name))
    # Last, because a change of owner takes the set-id bits away.
    os.chmod(temporary, stat.S_IMODE(status.st_mode))


def _read(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read()


_REMEDIES = {
    errno.EACCES: "give yourself the right to write the file and its folder, or exclude it",
    errno.EPERM: "give yourself the right to write the file and its folder, or exclude it",
    errno.EROFS: "the file system is read-only: work on a copy, or exclude it",
    errno.ENOSPC: "make room on the disk, then run bncodemod again",
    errno.EDQUOT: "make room in your quota, then run bncodemod again",
    errno.ENOENT: "run bncodemod again",
}


def _unwritable(error: OSError) -> Unwritable:
    remedy = _REMEDIES.get(error.errno or 0, "see that the file and its folder can be written")
    return Unwritable(error.strerror or str(error), remedy=remedy)
