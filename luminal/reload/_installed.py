"""Notice that something was installed, see `Installed`."""

from __future__ import annotations

import importlib
import os
import sys
import time
from typing import TYPE_CHECKING

import attrs

from luminal.reload.watching import is_unfinished_distribution

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

__all__ = ["Installed"]


def _changed(directory: str) -> int:
    try:
        return os.stat(directory).st_mtime_ns
    except OSError:
        return 0


@attrs.define
class _Place:
    """A directory of `sys.path`: when names came or went there, and these names."""

    changed: int = 0
    names: AbstractSet[str] = frozenset()
    is_unfinished: bool = False

    def update(self, directory: str) -> bool:
        """Look at *directory*; return whether it has other names than before."""
        changed = _changed(directory)
        if changed == self.changed and not self.is_unfinished:
            return False
        try:
            found = set(os.listdir(directory or os.curdir))
        except OSError:
            found = set()
        metadata = {name for name in found if name.endswith(".dist-info")}
        unfinished = {
            name
            for name in metadata
            if is_unfinished_distribution(os.path.join(directory, name))
        }
        # Installers write RECORD last, so a distribution counts when that is there.
        names = metadata - unfinished if metadata else found
        is_other = names != self.names
        self.changed, self.names = changed, names
        self.is_unfinished = bool(unfinished)
        return is_other


@attrs.define
class Installed:
    """What can be imported from the directories of `sys.path`.

    They are looked at, not watched: they have many files, and this is needed only while
    a photon cannot be loaded.
    """

    _places: dict[str, _Place] = attrs.Factory(dict)
    _is_recent: bool = False

    def __attrs_post_init__(self) -> None:
        self._update()
        now = time.time_ns()
        # It may have come just before this look, and after the photon has failed.
        self._is_recent = any(
            now - place.changed < 1_000_000_000 for place in self._places.values()
        )

    def has_changed(self) -> bool:
        """Whether something was installed since the last look.

        It is said twice of each change: a lone module may still have been incomplete.
        """
        was_recent, self._is_recent = self._is_recent, self._update()
        has_changed = was_recent or self._is_recent
        if has_changed:
            importlib.invalidate_caches()
        return has_changed

    def _update(self) -> bool:
        directories = [path for path in sys.path if os.path.isdir(path or os.curdir)]
        changes = [
            self._places.setdefault(path, _Place()).update(path) for path in directories
        ]
        return any(changes)
