"""What lies at a path: a module, a package, a compiled extension, or a folder.

In comes a directory and a stem, out comes a `Place`. What may be a module is decided
here and nowhere else: a ``.pyc`` is none.
"""

from __future__ import annotations

import os
import stat
import time
from importlib.machinery import EXTENSION_SUFFIXES
from typing import Literal

import attrs

__all__ = ["Place", "is_file", "look", "may_hold"]


@attrs.frozen
class Place:
    """Where a module lies.

    Attributes:
        kind: ``module``, ``package``, ``extension``, or ``namespace`` for a
            directory without ``__init__.py``.
        path: The file, or the directory of a namespace.
        unit: Full name of the root module of the unit that it belongs to; empty
            for a namespace, which belongs to nobody.
    """

    kind: Literal["module", "package", "extension", "namespace"]
    path: str
    unit: str

    @property
    def directory(self) -> str | None:
        """The directory to look in for submodules; None for what has none."""
        if self.kind == "package":
            return os.path.dirname(self.path)
        return self.path if self.kind == "namespace" else None


def is_file(path: str) -> bool:
    """Whether a regular file is at *path*, links followed."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


# Directory → (its modification time, when it was listed, names in it, their first
# parts). Photons' imports ask for the same few directories again and again.
_listings: dict[str, tuple[int, int, frozenset[str], frozenset[str]]] = {}
# A directory changed this shortly (ns) before it was listed may change once more
# without another modification time: the clock of file systems ticks in milliseconds.
_TICK = 50_000_000


def _listing(directory: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names in *directory*, and what they begin with up to a dot."""
    try:
        changed = os.stat(directory).st_mtime_ns
        known = _listings.get(directory)
        if known is not None and known[0] == changed and known[1] - changed > _TICK:
            return known[2:]
        listed = time.time_ns()
        names = frozenset(os.listdir(directory))
    except (OSError, ValueError):
        return frozenset(), frozenset()
    stems = frozenset(name.partition(".")[0] for name in names)
    _listings[directory] = (changed, listed, names, stems)
    return names, stems


def may_hold(directory: str, stem: str) -> bool:
    """Whether *directory* holds anything that a module *stem* could be."""
    return stem in _listing(directory)[1]


def look(directory: str, stem: str, unit: str) -> Place | None:
    """Find the module *stem* in *directory*; packages win, as in CPython."""
    names = _listing(directory)[0]
    inside = os.path.join(directory, stem)
    if stem in names:
        init = os.path.join(inside, "__init__.py")
        if is_file(init):
            return Place("package", init, unit)
    for suffix in EXTENSION_SUFFIXES:
        if stem + suffix in names:
            return Place("extension", inside + suffix, unit)
    if stem + ".py" in names:
        return Place("module", inside + ".py", unit)
    if stem in names and os.path.isdir(inside):
        return Place("namespace", inside, "")
    return None
