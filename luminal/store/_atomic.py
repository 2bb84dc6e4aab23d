"""Whole files or none: written beside their place, then moved into it.

Readers see the old bytes or the new ones, never a part. Two writers do not meet:
each has a file of its own until the move, and the last move wins.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import time
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "check_owner",
    "create_once",
    "lock_descriptor",
    "naming",
    "open_regular",
    "read_private",
    "read_regular",
    "replace_file",
    "sweep",
    "write_atomically",
]

_SUFFIX = ".tmp"
_STALE = 3600.0  # seconds after which the file of a writer that was killed is litter
_READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_READ |= getattr(os, "O_NONBLOCK", 0)
_READ_ITSELF = _READ | getattr(os, "O_NOFOLLOW", 0)
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
_WRITE |= getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)


def read_private(path: str, limit: int, *, closed: int = 0o022) -> bytes:
    """Return the bytes of a regular file that belongs to this user alone.

    Args:
        path: Its path.
        limit: Most bytes that it may have.
        closed: Permission bits that must not be set.

    Raises:
        OSError: It cannot be read, is no regular file, is larger than *limit*,
            belongs to another user, or is open to one.
    """
    descriptor = os.open(path, _READ_ITSELF)
    try:
        status = os.fstat(descriptor)
        check_owner(path, status, closed)
        return _read(path, descriptor, status, limit)
    finally:
        os.close(descriptor)


def read_regular(path: str, limit: int) -> bytes:
    """Return the bytes of a regular file that others may have written.

    Nothing is waited for: a pipe or a device is refused.

    Args:
        path: Its path; links are followed.
        limit: Most bytes that it may have.

    Raises:
        OSError: It cannot be read, is no regular file, or is larger than *limit*.
    """
    with open_regular(path) as file:
        return _read(path, file.fileno(), os.fstat(file.fileno()), limit)


def open_regular(path: str) -> BinaryIO:
    """Open such a file, to read it in parts.

    Raises:
        OSError: As for `read_regular`.
    """
    file = open(path, "rb", opener=lambda name, _: os.open(name, _READ))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise _no_file(path)
    return file


def _no_file(path: str) -> OSError:
    return OSError(errno.EINVAL, "it is not a regular file", path)


def _read(path: str, descriptor: int, status: os.stat_result, limit: int) -> bytes:
    if not stat.S_ISREG(status.st_mode):
        raise _no_file(path)
    if status.st_size > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit} bytes", path)
    return _read_all(descriptor, status.st_size)


def check_owner(path: str, status: os.stat_result, closed: int = 0o022) -> None:
    """Refuse what another user owns or, by the bits *closed*, can use.

    Windows has no such bits: there the user's profile is private already.

    Raises:
        PermissionError: It is another's, or open to others.
    """
    if os.name == "nt":
        return
    if status.st_uid != os.geteuid():
        raise PermissionError(f"{path!r} belongs to another user")
    if status.st_mode & closed:
        raise PermissionError(f"{path!r} is open to other users")


def write_atomically(path: str, data: bytes) -> None:
    """Put *data* at *path*, mode 0600, replacing what is there.

    Raises:
        OSError: The disk is full or read-only, or permission is missing; then
            *path* is as it was.
    """
    temporary = _write_beside(path, data)
    try:
        os.replace(temporary, path)
    except BaseException:
        _forget(temporary)
        raise


def replace_file(path: str, data: bytes) -> None:
    """Put *data* at *path*, and on the disk; others may read it as before.

    Its permissions stay, those of a new file are the user's usual ones. A link stays,
    and what it leads to is replaced.

    Raises:
        OSError: As for `write_atomically`.
    """
    path = os.path.realpath(path)
    with naming(path):
        try:
            mode = os.stat(path).st_mode & 0o777
        except FileNotFoundError:
            mode = 0o666 & ~_umask()
        temporary = _write_beside(path, data, is_synced=True)
        try:
            os.chmod(temporary, mode)
            os.replace(temporary, path)
        except BaseException:
            _forget(temporary)
            raise


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Let errors of the system name *path*: those of a full disk name no file.

    Raises:
        OSError: The same, of the file that the user knows.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:  # it has a text of its own
            raise
        raise OSError(error.errno, error.strerror, path) from error


def create_once(path: str, data: bytes) -> None:
    """Put *data* at *path* unless something is there already; whole or not at all.

    Raises:
        OSError: As for `write_atomically`.
    """
    temporary = _write_beside(path, data)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links: the last of two wins
        if not os.path.lexists(path):
            os.replace(temporary, path)
    finally:
        _forget(temporary)


@contextlib.contextmanager
def lock_descriptor(descriptor: int) -> Iterator[None]:
    """Let no other process, and no other opening of the file, in here meanwhile.

    Args:
        descriptor: Of a file that all of them open; but for Windows, a directory too.

    Raises:
        OSError: The file system has no locks; on Windows, another has it for long.
    """
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
        try:
            yield
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def sweep(directory: str) -> None:
    """Remove what writers that were killed have left in *directory*."""
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if not entry.name.endswith(_SUFFIX):
                continue
            with contextlib.suppress(OSError):
                age = time.time() - entry.stat(follow_symlinks=False).st_mtime
                if age > _STALE:
                    os.unlink(entry.path)


def _write_beside(path: str, data: bytes, *, is_synced: bool = False) -> str:
    temporary = f"{path}.{os.getpid()}-{os.urandom(6).hex()}{_SUFFIX}"
    with naming(path):
        descriptor = os.open(temporary, _WRITE, 0o600)
        try:
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
                if is_synced:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except BaseException:
            _forget(temporary)
            raise
    return temporary


def _forget(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def _read_all(descriptor: int, size: int) -> bytes:
    data = os.read(descriptor, size + 1)
    if len(data) == size:
        return data
    parts = [data]
    while len(parts[-1]) > 0:
        parts.append(os.read(descriptor, 1 << 20))
    return b"".join(parts)
