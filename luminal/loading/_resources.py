"""Data files of photons: those that they read as resources, and those they declare.

`Generation.note_data` keeps the digest of each one, so that a change of it is a change
of the generation. A file counts as read by `importlib.resources` as soon as its path is
used to open it, whoever does that.
"""

from __future__ import annotations

import os
import pathlib
import weakref
from importlib.readers import FileReader
from typing import TYPE_CHECKING, Any, cast

from luminal.discovery import is_data
from luminal.errors import PhotonUnreadableError
from luminal.loading._source import SourceFile, read_source

if TYPE_CHECKING:
    from luminal.loading._generation import Generation

__all__ = ["ResourceReader", "digest_of_data"]


def digest_of_data(path: str) -> SourceFile | None:
    """Return the digest of the file at *path*, without its bytes.

    None for a module, and where it cannot be read or is too large for that.
    """
    if not is_data(path):
        return None
    try:
        return SourceFile(path, b"", read_source(path).checksum)
    except PhotonUnreadableError:
        return None


def _path_class(generation: Generation) -> type[pathlib.Path]:
    """Return a class of paths that note which files of *generation* are opened."""
    known = weakref.ref(generation)  # a host may keep a path for good
    plain: Any = type(pathlib.Path())

    def __fspath__(self: Any) -> str:  # noqa: N807 - PEP 519
        path: str = plain.__fspath__(self)
        reader = known()
        if reader is not None and path not in reader.data and is_data(path):
            reader.note_data(path)
        return path

    def __reduce__(self: Any) -> Any:  # noqa: N807 - a copy is a plain path
        return pathlib.Path, (plain.__fspath__(self),)

    # `open` is what all other methods for reading call, and so is `__fspath__`.
    members = {"__slots__": (), "__fspath__": __fspath__, "__reduce__": __reduce__}
    return cast("type[pathlib.Path]", type(plain.__name__, (plain,), members))


class ResourceReader(FileReader):
    """Reads resources of a photon's package, and notes which.

    Args:
        loader: Of the package; has the attributes ``path`` and ``generation``.
    """

    def __init__(self, loader: Any) -> None:
        super().__init__(loader)
        self.path = _path_class(loader.generation)(self.path)

    def resource_path(self, resource: Any) -> str:
        """Return the path of a resource, which the caller is about to open."""
        return os.fspath(self.path.joinpath(resource))
