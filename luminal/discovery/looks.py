"""Many looks at paths below one directory, in the form in which they compare fastest.

A warm start is these looks and little else. So the names are bytes relative to the
directory, which the system walks to once, and the stamps are compared as one string
of bytes. On the start-up path: this file imports nothing heavy.
"""

from __future__ import annotations

import marshal
import os
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from luminal.discovery.reading import Stamp, stamp_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

__all__ = ["Looks", "hold", "looks_of"]

_IS_RELATIVE = {os.stat, os.access, os.open} <= os.supports_dir_fd
_FOLDER = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_FOLDER |= getattr(os, "O_PATH", os.O_RDONLY)  # Linux: no permission to list is needed
_EXISTS = partial(os.access, mode=os.F_OK)
if os.access in os.supports_effective_ids:
    _EXISTS = partial(_EXISTS, effective_ids=True)


Looks = tuple[bytes, bytes, bytes, bytes]
"""What was seen of paths below one directory: its absolute path; paths from there to
what was there, divided by null bytes; their stamps, packed; paths to what was not."""


def hold(looks: Looks) -> bool:
    """Return whether everything that *looks* tell of is as it was."""
    folder, names, stamps, gone = looks
    there, absent = _divided(names), _divided(gone)
    if not _IS_RELATIVE:
        there = [os.path.join(folder, name) for name in there]
        absent = [os.path.join(folder, name) for name in absent]
        return _are(there, stamps, absent)
    try:
        root = os.open(folder, _FOLDER)
    except OSError:
        return False
    try:
        return _are(there, stamps, absent, root)
    finally:
        os.close(root)


def looks_of(
    roots: Collection[str], there: Mapping[str, Stamp], absent: Iterable[str]
) -> list[Looks]:
    """Return the looks at *there* and *absent*, sorted by directories.

    Args:
        roots: Directories that many of the paths are below.
        there: Absolute path → stamp.
        absent: Absolute paths.
    """
    known: dict[str, str] = {}
    seen: dict[str, tuple[list[str], list[Stamp], list[str]]] = {}
    # By inodes: neighbours in the tables of the system are met one after the other.
    by_inode = sorted(there.items(), key=lambda item: item[1][1:3])
    for path, stamp in (*by_inode, *((path, None) for path in absent)):
        folder = os.path.dirname(path)
        if folder not in known:
            known[folder] = _root(folder, roots)
        names, stamps, gone = seen.setdefault(known[folder], ([], [], []))
        if stamp is None:
            gone.append(path)
        else:
            names.append(path)
            stamps.append(stamp)
    return [
        (os.fsencode(root), _joined(names, root), _packed(s), _joined(gone, root))
        for root, (names, s, gone) in seen.items()
    ]


def _root(folder: str, roots: Collection[str]) -> str:
    """Return the outermost of *roots* around *folder*, else the root of all."""
    found = ""
    while True:
        if folder in roots:
            found = folder
        above = os.path.dirname(folder)
        if above == folder:
            return found or folder
        folder = above


def _joined(paths: Iterable[str], root: str) -> bytes:
    start = len(os.path.join(root, ""))
    return b"\0".join(os.fsencode(path[start:]) for path in paths)


def _divided(names: bytes) -> list[bytes]:
    return names.split(b"\0") if names else []


def _packed(stamps: Iterable[Stamp]) -> bytes:
    # Version 2 writes equal values as equal bytes; later ones count references.
    return marshal.dumps(list(chain.from_iterable(stamps)), 2)


def _are(
    there: list[bytes], stamps: bytes, absent: list[bytes], root: int | None = None
) -> bool:
    try:
        now = _packed(map(stamp_of, map(partial(os.stat, dir_fd=root), there)))
    except OSError:
        return False
    exists = partial(_EXISTS, dir_fd=root)
    # A sandbox may refuse the question, which looks like a no: ask what has to be yes.
    is_answered = not absent or exists(os.fsencode(os.sep))
    return now == stamps and is_answered and not any(map(exists, absent))
