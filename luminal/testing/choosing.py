"""Which photons a test means, and which bytes lie on the disk."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from luminal.errors import PhotonNotFoundError

if TYPE_CHECKING:
    from collections.abc import Collection

    from luminal.model import Candidate

__all__ = ["choose", "digest_of"]


def choose(
    directory: str, group: str | None, names: Collection[str], loaded: Collection[str]
) -> list[Candidate]:
    """Return the candidates called *names*, in load order.

    Args:
        directory: Where photons' files are.
        group: Entry-point group of installed photons; None for none.
        names: Files below the directory, or names of photons; none for all.
        loaded: Files that are left out where there are no names.

    Raises:
        PhotonNotFoundError: There is no photon of one of these names.
    """
    from luminal.discovery import discover

    wanted = []
    missing = set(names)
    for candidate in discover(directory, group=group):
        called = {candidate.name, os.path.relpath(candidate.location, directory)}
        missing -= called
        if called & set(names) or (not names and candidate.location not in loaded):
            wanted.append(candidate)
    if missing:
        raise PhotonNotFoundError(
            "is not there",
            photon=min(missing),
            file=directory,
            hint="write it first; name its file, or the photon",
        )
    return wanted


def digest_of(path: str) -> str:
    """Return the SHA-512 of the file at *path*; empty where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.sha512(file.read()).hexdigest()
    except OSError:
        return ""
