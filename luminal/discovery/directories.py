"""From a directory to the units in it, in an order that the disk does not decide."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from luminal.discovery.units import read_unit
from luminal.errors import PhotonUnreadableError
from luminal.model import Candidate, Problem, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from luminal.discovery.witness import Witness

__all__ = ["read_directory"]


def read_directory(
    witness: Witness, directory: str, base: str, *, recursive: bool
) -> Iterator[Candidate]:
    """Yield the candidates of *directory*.

    Its modules and packages at the top; with *recursive* those of everything below,
    without it those one level down where the top has directories only. A package is
    one unit: what is inside belongs to it.

    Args:
        witness: Where files are looked at.
        directory: Absolute path.
        base: Name of the photon base.
        recursive: Whether to descend.
    """
    waiting = [directory]
    visited: set[tuple[object, ...]] = set()
    while waiting:
        folder = waiting.pop()
        listing = witness.modules(folder)
        if isinstance(listing, int):
            yield _unlisted(folder, directory, listing)
            continue
        if listing[:2] in visited:  # by a link, maybe one that leads back up
            continue
        visited.add(listing[:2])
        names = [str(name) for name in listing[2:]]
        plain: list[str] = []
        for name in names:
            path = os.path.join(folder, name)
            if name.endswith("/"):
                path = os.path.join(path, "__init__.py")
                if not witness.exists(path):
                    plain.append(os.path.join(folder, name[:-1]))
                    continue
            yield from read_unit(witness, path, directory, base)
        only_folders = folder == directory and all(n.endswith("/") for n in names)
        if recursive or only_folders:
            waiting.extend(reversed(plain))


def _unlisted(folder: str, origin: str, number: int) -> Candidate:
    refusal = PhotonUnreadableError(
        "directory cannot be read",
        file=folder,
        why=os.strerror(number),
        hint="give the host's user permission to read it",
    )
    return Candidate(
        name=os.path.basename(folder) or folder,
        source=Source.DIRECTORY,
        origin=origin,
        location=folder,
        problem=Problem.of(refusal, "read"),
    )
