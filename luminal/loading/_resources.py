"""Data files of photons: those that they read as resources, and those they declare.

`Generation.note_data` keeps the digest of each one, so that a change of it is a change
of the generation. A file counts as read by `importlib.resources` as soon as its path is
used to open it, whoever does that.

Small ones are kept in memory. A call of old code that reads one after a swap gets what
its generation had; where that is not known any more, an error, and never a newer text.
"""

from __future__ import annotations

import errno
import io
import os
import pathlib
import weakref
from hashlib import sha512
from importlib.readers import FileReader
from typing import TYPE_CHECKING, Any, cast

from luminal.discovery import is_data
from luminal.errors import PhotonUnreadableError
from luminal.loading._importer import is_superseded
from luminal.loading._source import SourceFile, read_source

if TYPE_CHECKING:
    from luminal.loading._generation import Generation
    from luminal.loading._superseded import Superseded

__all__ = ["ResourceReader", "digest_of_data", "superseded_data"]


_LARGEST = 64 * 2**10
"""Bytes of a data file that is kept in memory at most."""
_MOST_BYTES = 2**20
"""Bytes of all data files of a generation that are kept in memory."""


def digest_of_data(path: str, kept: int = 0) -> SourceFile | None:
    """Return the digest of the file at *path*, with its bytes if it is small.

    None for a module, and where it cannot be read or is too large for that.

    Args:
        path: Of the file.
        kept: Bytes of data files that its generation keeps in memory already.
    """
    if not is_data(path):
        return None
    try:
        source = read_source(path)
    except PhotonUnreadableError:
        return None
    size = len(source.data)
    if size <= _LARGEST and size + kept <= _MOST_BYTES:
        return source
    return SourceFile(path, b"", source.checksum)


def superseded_data(
    generation: Generation, path: str, *, is_opened: bool = False
) -> bytes | None:
    """Return the bytes of a data file that a generation had, which serves no more.

    None where the file on the disk is the same still, or *generation* serves.

    Args:
        generation: Its code reads the file, or somebody for it.
        path: Of the file.
        is_opened: It is about to be opened by its path.

    Raises:
        OSError: The file has changed since, or may have.
    """
    if not (is_superseded(generation) and is_data(path)) or os.path.isdir(path):
        return None
    host = cast("Superseded", generation.host)
    known = generation.data.get(path)
    if known is None:
        if host.is_unchanged(path):
            return None
    else:
        is_kept = sha512(known.data).hexdigest() == known.checksum
        if is_kept and not is_opened:
            return known.data
        now = digest_of_data(path)
        if now is not None and now.checksum == known.checksum:
            return None
    raise OSError(errno.ESTALE, str(host.refusal(path)), path)


def _path_class(generation: Generation) -> type[pathlib.Path]:
    """Return a class of paths that note which files of *generation* are opened."""
    known = weakref.ref(generation)  # a host may keep a path for good
    plain: Any = type(pathlib.Path())

    def __fspath__(self: Any) -> str:  # noqa: N807 - PEP 519
        path: str = plain.__fspath__(self)
        reader = known()
        if reader is not None:
            superseded_data(reader, path, is_opened=True)
            reader.note_data(path)
        return path

    def open_(
        self: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> Any:
        reader = known()
        if reader is not None and set(mode) <= set("rbt"):
            data = superseded_data(reader, plain.__fspath__(self))
            if data is not None:
                stream = io.BytesIO(data)
                if "b" in mode:
                    return stream
                encoding = io.text_encoding(encoding)
                return io.TextIOWrapper(stream, encoding, errors, newline)
        return plain.open(self, mode, buffering, encoding, errors, newline)

    def __reduce__(self: Any) -> Any:  # noqa: N807 - a copy is a plain path
        return pathlib.Path, (plain.__fspath__(self),)

    # `open` is what all other methods for reading call, and so is `__fspath__`.
    members = {
        "__slots__": (),
        "__fspath__": __fspath__,
        "__reduce__": __reduce__,
        "open": open_,
    }
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
