"""The bytes of what a fleet has decided, by their digest.

They are kept beside the journal, so that whoever decides next has them too.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from hashlib import sha512
from typing import TYPE_CHECKING, Final

from luminal.fleet._journal import make_durable
from luminal.store import write_atomically

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["Contents", "digest_of"]

_NAME: Final = re.compile(r"[0-9a-f]{128}\.photon")

_SPARE: Final = 16
"""Bundles that are kept though no decision needs them any more, for a roll-back."""


def digest_of(data: bytes) -> str:
    """Return the name of *data*: its SHA-512, as hexadecimal digits."""
    return sha512(data).hexdigest()


class Contents:
    """A directory of bundles.

    Args:
        directory: Absolute path. It is made when something is put in.

    Attributes:
        latest: Digest and bytes of what was put in or read last: many ask for the same.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory: str = os.path.abspath(directory)
        self.latest: tuple[str, bytes] = ("", b"")

    def _path(self, digest: str) -> str:
        return os.path.join(self.directory, f"{digest}.photon")

    def put(self, data: bytes) -> str:
        """Keep *data*; return its digest. `make_durable` is to follow.

        Raises:
            OSError: It cannot be written.
        """
        digest = digest_of(data)
        if self.get(digest) is None:
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            write_atomically(self._path(digest), data)
        else:
            with suppress(OSError):  # it is the newest again
                os.utime(self._path(digest))
        self.latest = digest, data
        return digest

    def make_durable(self, digest: str) -> None:
        """Wait until the bytes with *digest* are on the disk.

        Raises:
            OSError: They are not there, or the disk has failed.
        """
        for path in (self._path(digest), self.directory):
            make_durable(path)

    def get(self, digest: str) -> bytes | None:
        """Return the bytes with *digest*; None where they are not there, or damaged."""
        if not _NAME.fullmatch(f"{digest}.photon"):
            return None
        try:
            with open(self._path(digest), "rb") as file:
                data = file.read()
        except OSError:
            return None
        if digest_of(data) != digest:
            return None
        self.latest = digest, data
        return data

    def keep(self, digests: Collection[str]) -> None:
        """Remove all but *digests*, and the latest few others."""
        found: list[tuple[int, str]] = []
        try:
            with os.scandir(self.directory) as entries:
                for entry in entries:
                    digest = entry.name.removesuffix(".photon")
                    if _NAME.fullmatch(entry.name) and digest not in digests:
                        found.append((entry.stat().st_mtime_ns, entry.path))
        except OSError:
            return
        for _, path in sorted(found)[:-_SPARE]:
            with suppress(OSError):
                os.unlink(path)
