"""Where a test's host lives: a directory, and a cache of its own in it."""

from __future__ import annotations

import os
import tempfile

__all__ = ["Place"]

_VARIABLE = "LUMINAL_CACHE_DIR"


class Place:
    """A directory, temporary where none is given, and Luminal's cache in it.

    Args:
        directory: The directory; None for one that goes at `close`.
    """

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if directory is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="luminal-")
            directory = self._temporary.name
        root = os.path.realpath(directory)
        self.photons = os.path.join(root, "photons")
        # The process's, so that the watch and its threads go by it too.
        self._cache = os.path.join(root, "cache")
        self._cache_before = os.environ.get(_VARIABLE)
        os.environ[_VARIABLE] = self._cache

    def close(self) -> None:
        """Leave everything as it was. Twice does no harm."""
        # Another host may have come since; the variable is its own then.
        if os.environ.get(_VARIABLE) == self._cache:
            if self._cache_before is None:
                del os.environ[_VARIABLE]
            else:
                os.environ[_VARIABLE] = self._cache_before
        if self._temporary is not None:
            self._temporary.cleanup()
