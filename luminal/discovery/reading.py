"""Bytes of files that nobody vouches for: read once, bounded, never blocking.

Comes in: a path. Goes out: its bytes and its stamp, or an error that says why not.
Must never open what is not a regular file, nor read more than `LIMIT` bytes.
"""

from __future__ import annotations

import errno
import os
import stat
from operator import attrgetter
from typing import TYPE_CHECKING

from luminal.errors import PhotonUnreadableError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LIMIT", "MARGIN", "Stamp", "read_bytes", "settled", "stamp_of"]

LIMIT = 16 * 1024 * 1024
"""Most bytes of a source or metadata file; a photon is text that people write."""

MARGIN = 2_000_000_000
"""Nanoseconds by which a file must be older than a look at it for its stamp to tell.

Two writes within one tick of the file system's clock have one stamp. Ticks are
nanoseconds to 10 ms on Linux, 1 s on HFS+, 2 s on FAT.
"""

Stamp = tuple[int, int, int, int, int, int]
"""(mode, inode, device, size, ``mtime_ns``, ``ctime_ns``) of a file."""

_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_FLAGS |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)

_KINDS = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISSOCK, "a socket"),
)
_HINTS = {
    errno.EACCES: "give the host's user permission to read it",
    errno.EPERM: "give the host's user permission to read it",
    errno.ENOENT: "mend or remove the link: its target is gone",
    errno.ELOOP: "mend or remove the link: it leads back to itself",
}


stamp_of: Callable[[os.stat_result], Stamp] = attrgetter(
    "st_mode", "st_ino", "st_dev", "st_size", "st_mtime_ns", "st_ctime_ns"
)
"""Return what changes whenever the file does, see `settled`."""


def settled(stamp: Stamp, now: int) -> bool:
    """Return whether an equal stamp later on proves that the file is unchanged.

    It does where the file was already `MARGIN` old when it was looked at: any later
    write gets a later ``ctime``, which no program can set back. Windows has no such
    time, so there a stamp proves nothing.

    Args:
        stamp: The stamp that was seen.
        now: The clock at or before that moment, in nanoseconds.
    """
    return os.name != "nt" and max(stamp[4], stamp[5]) + MARGIN <= now


def read_bytes(path: str, *, is_known: bool = False) -> tuple[bytes, Stamp]:
    """Return a regular file's bytes and the stamp that it had before they were read.

    Args:
        path: Path of the file; links are followed.
        is_known: Whether it has been looked at before, or is named by code that runs.

    Raises:
        PhotonUnreadableError: It is missing, of another kind, too large, or the
            system refuses to read it; ``errno`` is that of the cause.
    """
    try:
        # Looked at before it is opened: to open a device can already do something.
        if not is_known:
            _check(path, os.stat(path))
        descriptor = os.open(path, _FLAGS)
        try:
            status = os.fstat(descriptor)
            _check(path, status)
            return _all(descriptor, status.st_size, path), stamp_of(status)
        finally:
            os.close(descriptor)
    except PhotonUnreadableError:
        raise
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: OSError | ValueError) -> PhotonUnreadableError:
    number = getattr(error, "errno", None)
    refusal = PhotonUnreadableError(
        "cannot be read",
        file=path,
        why=getattr(error, "strerror", None) or str(error),
        hint=_HINTS.get(number or 0, "check the file and the disk that it is on"),
    )
    refusal.errno = number
    return refusal


def _check(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((k for is_a, k in _KINDS if is_a(status.st_mode)), "no file")
        raise PhotonUnreadableError(
            "cannot be read",
            file=path,
            why=f"it is {kind}",
            hint="put a regular file there, or remove it",
        )
    if status.st_size > LIMIT:
        raise _too_large(path, status.st_size)


def _all(descriptor: int, size: int, path: str) -> bytes:
    data = os.read(descriptor, size + 1)
    if len(data) == size:
        return data
    parts = [data]  # it grows or shrinks under our hands: to its end, within bounds
    total = len(data)
    while part := os.read(descriptor, 1 << 20):
        parts.append(part)
        total += len(part)
        if total > LIMIT:
            raise _too_large(path, total)
    return b"".join(parts)


def _too_large(path: str, size: int) -> PhotonUnreadableError:
    return PhotonUnreadableError(
        "is too large",
        file=path,
        why=f"it has {size:,} bytes, the limit is {LIMIT:,}",
        hint="move its data into a file that the photon opens itself",
    )
