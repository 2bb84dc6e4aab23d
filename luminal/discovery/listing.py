"""What is in a directory, as far as discovery wants to know, and since when.

On the start-up path: this file imports nothing heavy.
"""

from __future__ import annotations

import os

from luminal.discovery.reading import Stamp, settled, stamp_of

__all__ = ["Folder", "Listing", "is_as_before", "list_directory"]

_MODULES = (".py",)
_PACKAGES = (".dist-info", ".egg-info", ".pth")

Listing = tuple[object, ...] | int
"""(device, inode, names…) of a directory, or the number of the error."""

Folder = tuple[Stamp | None, Listing]
"""A listing, and the stamp that proves it as long as the directory has it, or None."""


def list_directory(path: str, now: int, *, of_modules: bool) -> Folder:
    """Return what is in the directory at *path*, sorted; directories end in ``/``.

    Args:
        path: Its path.
        now: The clock at or before this moment, in nanoseconds.
        of_modules: Whether it is a directory of photons: its modules and directories
            matter, hidden names (``.``, ``_``) never. Else it is an entry of
            ``sys.path``, and what says that something is installed there matters.
    """
    try:
        stamp = stamp_of(os.stat(path))
        found = _modules(path) if of_modules else _packages(path)
    except OSError as error:
        return None, error.errno or -1
    found.sort()
    # The target of a link may become a directory, and nothing changes beside the link.
    is_proof = not of_modules and _tells_names(stamp, now)
    return stamp if is_proof else None, (stamp[2], stamp[1], *found)


def is_as_before(path: str, stamp: Stamp | None) -> bool:
    """Return whether *stamp* still proves what was listed of the directory."""
    try:
        return stamp is not None and stamp_of(os.stat(path)) == stamp
    except OSError:
        return False


def _tells_names(stamp: Stamp, now: int) -> bool:
    """Return whether no name can come or go without another stamp.

    A directory's ``mtime`` and ``ctime`` are the time of that (POSIX, "File Times
    Update"). Time 0 is no time: the root of a FAT volume has it after each mount.
    """
    return settled(stamp, now) and min(stamp[4], stamp[5]) > 0


def _packages(path: str) -> list[str]:
    # pip begins the name of what it is about to remove with a tilde.
    return [n for n in os.listdir(path) if n.endswith(_PACKAGES) and n[0] != "~"]


def _modules(path: str) -> list[str]:
    found: list[str] = []
    with os.scandir(path) as entries:
        for entry in entries:
            name = entry.name
            if name[0] in "._":
                continue
            if _is_directory(entry):
                if not name.endswith(_PACKAGES):
                    found.append(name + "/")
            elif name.endswith(_MODULES):
                found.append(name)
    return found


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself
        return False
