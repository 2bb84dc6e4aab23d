"""Cache files that only this user's own processes can have written.

A file is a head line (format, interpreter), a message authentication code, and the
payload. The code is keyed BLAKE2b over head, name and payload, with a random key in
a file that nobody else can read. Only a payload whose code is right is handed to
`marshal`, which must never see bytes from elsewhere: what somebody without the key
changes, adds or swaps is ignored, not executed. Who can read the key can already
run code as this user.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import sys
from _operator import _compare_digest

try:  # hashlib brings OpenSSL along: 3 ms of each start for the same function
    from _blake2 import blake2b
except ImportError:  # pragma: no cover  (an interpreter without this module)
    from hashlib import blake2b

from luminal.store._atomic import (
    check_owner,
    create_once,
    read_private,
    sweep,
    write_atomically,
)

__all__ = ["SealedStore", "fingerprint"]

_ENDING = ".sealed"
_KEY = "key"
_KEY_SIZE = 32
_CODE_SIZE = 32
_LIMIT = 256 * 1024 * 1024

_warned: set[str] = set()
"""Directories that a warning has been logged about: one a process is enough."""


class SealedStore:
    """A directory of sealed files.

    It holds no open file and no lock, so threads, forks and other processes may use
    the same directory at any time; of two writers the last wins.

    Args:
        directory: Absolute path, made with mode 0700 at the first write. By default
            `cache_directory`; if there is none, nothing is found and nothing kept.
    """

    __slots__ = ("_key", "directory")

    def __init__(self, directory: str | None = None) -> None:
        if directory is None:
            from luminal.store._directories import cache_directory

            directory = cache_directory() or ""
        self.directory: str = directory
        self._key: bytes | None = None

    def __repr__(self) -> str:
        return f"<SealedStore {self.directory!r}>"

    def load(self, name: str) -> object | None:
        """Return the value that was saved under *name*, or None.

        Args:
            name: A file name of letters, digits, ``-`` and ``_``.
        """
        payload = self.get(name)
        if payload is None:
            return None
        try:
            value: object = marshal.loads(payload)  # noqa: S302  (authenticated above)
        except (EOFError, ValueError, TypeError) as error:
            self._warn(f"{name!r} is damaged: {error}")
            return None
        return value

    def save(self, name: str, value: object) -> bool:
        """Keep *value* under *name*, and say whether that worked.

        Args:
            name: A file name of letters, digits, ``-`` and ``_``.
            value: None, numbers, strings, bytes, code objects, and tuples, lists,
                dicts and sets of these.

        Raises:
            ValueError: *value* holds something else.
        """
        payload: bytes = marshal.dumps(value)  # type: ignore[arg-type]
        return self.put(name, payload)

    def get(self, name: str) -> memoryview | None:
        """Return the bytes that were put under *name*, checked, or None."""
        if not self.directory:
            return None
        try:
            data = read_private(self._path(name), _LIMIT)
            key = self._read_key()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn(f"cannot be read: {error}")
            return None
        head = _head()
        if not data.startswith(head):  # of another format or interpreter
            return None
        start = len(head) + _CODE_SIZE
        payload = memoryview(data)[start:]
        if not _compare_digest(data[len(head) : start], _code(key, name, payload)):
            self._warn(f"{name!r} is damaged or was not written by this user")
            return None
        return payload

    def put(self, name: str, payload: bytes) -> bool:
        """Keep *payload* under *name*, and say whether that worked."""
        if not self.directory:
            return False
        if len(payload) > _LIMIT - 1024:  # room for the head
            self._warn(f"{name!r} would have more than {_LIMIT:,} bytes")
            return False
        try:
            self._prepare()
            key = self._read_key()
            write_atomically(
                self._path(name), _head() + _code(key, name, payload) + payload
            )
        except OSError as error:
            self._warn(f"cannot be written: {error}")
            return False
        return True

    def prune(self, prefix: str, keep: int) -> None:
        """Remove the oldest files whose names begin with *prefix*, but for *keep*.

        Args:
            prefix: Beginning of their names.
            keep: How many stay, those that were written last.
        """
        found: list[tuple[int, str]] = []
        with contextlib.suppress(OSError), os.scandir(self.directory) as entries:
            for entry in entries:
                if entry.name.startswith(prefix) and entry.name.endswith(_ENDING):
                    status = entry.stat(follow_symlinks=False)
                    found.append((status.st_mtime_ns, entry.path))
        for _, path in sorted(found)[:-keep]:
            with contextlib.suppress(OSError):
                os.unlink(path)

    def _path(self, name: str) -> str:
        # One file per interpreter: what one writes, another could not read.
        tag = sys.implementation.cache_tag or sys.implementation.name
        return os.path.join(self.directory, f"{name}.{tag}{_ENDING}")

    def _prepare(self) -> None:
        """Make the directory and the key where they are missing."""
        os.makedirs(os.path.dirname(self.directory), exist_ok=True)
        try:
            os.mkdir(self.directory, 0o700)
        except FileExistsError:
            sweep(self.directory)
        check_owner(self.directory, os.stat(self.directory))
        path = os.path.join(self.directory, _KEY)
        if not os.path.lexists(path):
            create_once(path, os.urandom(_KEY_SIZE))

    def _read_key(self) -> bytes:
        if self._key is None:
            path = os.path.join(self.directory, _KEY)
            check_owner(self.directory, os.stat(self.directory))
            key = read_private(path, _KEY_SIZE, closed=0o077)
            if len(key) != _KEY_SIZE:
                raise PermissionError(f"{path!r} is not a key of {_KEY_SIZE} bytes")
            self._key = key
        return self._key

    def _warn(self, why: str) -> None:
        if self.directory in _warned:
            return
        _warned.add(self.directory)
        import logging

        logging.getLogger("luminal.store").warning(
            "the cache in %r is not used: %s; remove it, or name another directory "
            "in LUMINAL_CACHE_DIR",
            self.directory,
            why,
        )


def fingerprint(data: bytes) -> str:
    """Return 32 hex digits that tell *data* apart, fit for a name in the store."""
    return blake2b(data, digest_size=16).hexdigest()


def _head() -> bytes:
    return f"luminal sealed 1 {sys.implementation.name} {sys.hexversion:x}\n".encode()


def _code(key: bytes, name: str, payload: bytes | memoryview) -> bytes:
    code = blake2b(_head(), digest_size=_CODE_SIZE, key=key)
    code.update(f"{name}\n".encode())
    code.update(payload)
    return code.digest()
