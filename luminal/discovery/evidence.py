"""What a discovery saw on disk, and whether it is still so.

A discovery is a pure function of what it looks at. Each look is written down; an
earlier answer holds exactly as long as every one of its looks has the same result.
On the start-up path: this file imports nothing heavy.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from luminal.discovery.reading import Stamp, read_bytes, settled, stamp_of

__all__ = ["MODULES", "PACKAGES", "Evidence", "Listing", "list_directory"]

MODULES = (".py",)
"""Endings of the files that matter in a directory of photons."""

PACKAGES = (".dist-info", ".egg-info", ".pth")
"""Endings of what matters in an entry of ``sys.path``."""

Listing = tuple[object, ...] | int
"""(device, inode, names…) of a directory, or the number of the error."""


def list_directory(path: str, endings: tuple[str, ...]) -> Listing:
    """Return what is in the directory at *path*, sorted; directories end in ``/``.

    Args:
        path: Its path.
        endings: Endings of the names that matter. Directories matter always where
            modules are looked for, and hidden names (``.``, ``_``) never.
    """
    found: list[str] = []
    try:
        status = os.stat(path)
        if endings is PACKAGES:
            names = os.listdir(path)
            found = [n for n in names if n.endswith(endings) and n[0] != "~"]
        else:
            with os.scandir(path) as entries:
                for entry in entries:
                    name = entry.name
                    if name[0] in "._":
                        continue
                    if _is_directory(entry):
                        if not name.endswith(PACKAGES):
                            found.append(name + "/")
                    elif name.endswith(endings):
                        found.append(name)
    except OSError as error:
        return error.errno or -1
    found.sort()
    return (status.st_dev, status.st_ino, *found)


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself
        return False


class Evidence(NamedTuple):
    """All looks of one discovery, in the form in which they are compared fastest.

    Attributes:
        listings: (directory, whether of modules) → what `list_directory` returned.
        paths: Paths of what was there.
        stamps: The stamp of each of *paths*.
        absent: Path → number of the error that said so.
        doubtful: Path → (stamp, SHA-512 hex digest or empty where it was not read),
            of those that a stamp does not tell of, see `settled`.
    """

    listings: dict[tuple[str, bool], Listing]
    paths: list[str]
    stamps: list[Stamp]
    absent: dict[str, int | None]
    doubtful: dict[str, tuple[Stamp, str]]

    def holds(self) -> bool:
        """Return whether everything is as it was."""
        for (directory, of_modules), listing in self.listings.items():
            endings = MODULES if of_modules else PACKAGES
            if list_directory(directory, endings) != listing:
                return False
        try:
            if list(map(stamp_of, map(os.stat, self.paths))) != self.stamps:
                return False
        except OSError:
            return False
        return all(map(self._is_absent, self.absent)) and all(
            _has_digest(path, *kept) for path, kept in self.doubtful.items()
        )

    def aged(self, now: int) -> Evidence | None:
        """Return it with less doubt if files have aged meanwhile, else None.

        Args:
            now: The clock before `holds` was asked, in nanoseconds.
        """
        doubtful = {p: k for p, k in self.doubtful.items() if not settled(k[0], now)}
        if len(doubtful) == len(self.doubtful):
            return None
        return self._replace(doubtful=doubtful)

    def _is_absent(self, path: str) -> bool:
        try:
            os.stat(path)
        except OSError as error:
            return error.errno == self.absent[path]
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
