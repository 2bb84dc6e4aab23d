"""What a discovery saw on disk, and whether it is still so.

A discovery is a pure function of what it looks at. Each look is written down; an
earlier answer holds exactly as long as every one of its looks has the same result.
On the start-up path: this file imports nothing heavy.
"""

from __future__ import annotations

import os

from luminal.discovery.listing import Folder, is_as_before, list_directory
from luminal.discovery.looks import Looks, hold
from luminal.discovery.reading import Stamp, read_bytes, settled

__all__ = ["Evidence"]


class Evidence:
    """All looks of one discovery.

    Args:
        folders: (directory, whether of modules) → what `list_directory` returned.
        looks: Stamps of what was there, and paths of what was not.
        refused: Path → number of the error, of what could not be read.
        doubtful: Path → (stamp, SHA-512 hex digest or empty where it was not read),
            of those that a stamp does not tell of, see `settled`.
    """

    __slots__ = ("_doubtful", "_folders", "_looks", "_refused")

    def __init__(
        self,
        folders: dict[tuple[str, bool], Folder],
        looks: list[Looks],
        refused: dict[str, int | None],
        doubtful: dict[str, tuple[Stamp, str]],
    ) -> None:
        self._folders = folders
        self._looks = looks
        self._refused = refused
        self._doubtful = doubtful

    def pack(self) -> tuple[object, ...]:
        """Return the arguments that make an equal one, for the index to keep."""
        return self._folders, self._looks, self._refused, self._doubtful

    def still(self, now: int) -> Evidence | None:
        """Return it if everything is as it was, with less doubt if files have aged.

        Args:
            now: The clock before this call, in nanoseconds.
        """
        folders = self._listed(now)
        if (
            folders is None
            or not all(map(hold, self._looks))
            or not all(_is_refused(*kept) for kept in self._refused.items())
            or not all(_has_digest(p, *kept) for p, kept in self._doubtful.items())
        ):
            return None
        doubtful = {p: k for p, k in self._doubtful.items() if not settled(k[0], now)}
        if not folders and len(doubtful) == len(self._doubtful):
            return self
        folders = self._folders | folders
        return Evidence(folders, self._looks, self._refused, doubtful)

    def _listed(self, now: int) -> dict[tuple[str, bool], Folder] | None:
        """Return new proof of the old listings, None if there are other ones now."""
        found: dict[tuple[str, bool], Folder] = {}
        for (path, of_modules), (stamp, listing) in self._folders.items():
            if is_as_before(path, stamp):
                continue
            seen = list_directory(path, now, of_modules=of_modules)
            if seen[1] != listing:
                return None
            if seen[0] != stamp:
                found[path, of_modules] = seen
        return found


def _is_refused(path: str, number: int | None) -> bool:
    try:
        os.stat(path)
    except OSError as error:
        return error.errno == number
    return False


def _has_digest(path: str, stamp: Stamp, digest: str) -> bool:
    if not digest:
        return True
    import hashlib

    try:
        data, seen = read_bytes(path)
    except OSError:
        return False
    return seen == stamp and hashlib.sha512(data).hexdigest() == digest
