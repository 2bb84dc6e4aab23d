"""What a discovery saw on disk, and whether it is still so.

A discovery is a pure function of what it looks at. Each look is written down; an
earlier answer holds exactly as long as every one of its looks has the same result.
On the start-up path: this file imports nothing heavy.
"""

from __future__ import annotations

import os

from luminal.discovery.reading import read_bytes, settled

__all__ = ["MODULES", "PACKAGES", "holds", "list_directory"]

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


def holds(
    listings: dict[tuple[str, bool], Listing],
    stamps: dict[str, tuple[object, str, bool]],
    now: int,
) -> int:
    """Return whether everything is as it was: 0 for no, 1 for yes.

    A file whose stamp cannot tell is read, and its digest compared. Where that was
    needed and will not be needed again, because the file has aged meanwhile, the
    answer is 2: the caller may write the evidence down anew.

    Args:
        listings: (directory, whether of modules) → what `list_directory` returned.
        stamps: Path → (stamp or error number, digest or empty, is the stamp proof).
        now: The clock before this call, in nanoseconds.
    """
    for (directory, of_modules), listing in listings.items():
        if list_directory(directory, MODULES if of_modules else PACKAGES) != listing:
            return 0
    doubtful: list[str] = []
    stat = os.stat
    for path, (stamp, _, proof) in stamps.items():
        try:
            status = stat(path)
        except OSError as error:
            if error.errno != stamp:
                return 0
            continue
        if stamp != (
            status.st_mode,
            status.st_ino,
            status.st_dev,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
        ):
            return 0
        if not proof:
            doubtful.append(path)
    return _reread(doubtful, stamps, now) if doubtful else 1


def _reread(
    paths: list[str], stamps: dict[str, tuple[object, str, bool]], now: int
) -> int:
    import hashlib

    aged = 1
    for path in paths:
        stamp, digest, _ = stamps[path]
        if digest:
            try:
                data, seen = read_bytes(path)
            except OSError:
                return 0
            if seen != stamp or hashlib.sha512(data).hexdigest() != digest:
                return 0
        if settled(stamp, now):  # type: ignore[arg-type]
            stamps[path] = (stamp, digest, True)
            aged = 2
    return aged
