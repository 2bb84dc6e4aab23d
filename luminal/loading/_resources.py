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
import itertools
import os
import pathlib
import weakref
from hashlib import sha512
from importlib.readers import FileReader
from importlib.resources.abc import Traversable, TraversableResources
from typing import TYPE_CHECKING, Any, cast

from luminal.discovery import is_data
from luminal.errors import PhotonUnreadableError
from luminal.loading._importer import is_superseded
from luminal.loading._source import SourceFile, read_source

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from luminal.loading._generation import Generation
    from luminal.loading._superseded import Superseded
    from luminal.trust import Bundle

__all__ = [
    "BundleReader",
    "ResourceReader",
    "data_in_bundle",
    "digest_of_data",
    "superseded_data",
]


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


def _member(bundle: Bundle, path: str) -> str:
    """Return the name in *bundle* of what has *path*, with ``/`` between its parts."""
    start = os.path.join(bundle.path, "")
    inside = path.removeprefix(start)
    return inside.replace(os.sep, "/")


def data_in_bundle(bundle: Bundle, path: str) -> bytes:
    """Return the bytes of a file of *bundle*.

    Args:
        bundle: What code was loaded from.
        path: The bundle's path, and the name of the file after it.

    Raises:
        FileNotFoundError: There is no such file in it.
    """
    found = bundle.files.get(_member(bundle, os.path.normpath(path)))
    if found is None:
        raise FileNotFoundError(errno.ENOENT, "the bundle has no such file", path)
    return found


class _Resource(Traversable):
    """A file or folder of a bundle.

    Args:
        files: All files of the bundle.
        path: Its name in there; empty for the bundle itself.
    """

    def __init__(self, files: Mapping[str, bytes], path: str) -> None:
        self._files: Mapping[str, bytes] = files
        self._path: str = path

    def __repr__(self) -> str:
        return f"<resource {self._path!r}>"

    @property
    def name(self) -> str:
        """The last part of its name."""
        return self._path.rpartition("/")[2]

    def iterdir(self) -> Iterator[Traversable]:
        """Yield what is in this folder."""
        start = f"{self._path}/" if self._path else ""
        inside = (f[len(start) :] for f in self._files if f.startswith(start))
        for name in dict.fromkeys(each.partition("/")[0] for each in inside):
            yield _Resource(self._files, start + name)

    def is_file(self) -> bool:
        """Whether it is a file."""
        return self._path in self._files

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        start = f"{self._path}/"
        return not self._path or any(each.startswith(start) for each in self._files)

    def joinpath(self, *descendants: str | os.PathLike[str]) -> Traversable:
        """Return what has a path below this one; it may be missing."""
        names = [os.fspath(each).replace(os.sep, "/") for each in descendants]
        parts = list(itertools.chain(*(name.split("/") for name in names)))
        parts = [part for part in parts if part not in ("", ".")]
        return _Resource(self._files, "/".join(filter(None, [self._path, *parts])))

    def __truediv__(self, child: str | os.PathLike[str]) -> Traversable:
        return self.joinpath(child)

    def open(self, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        """Return a stream of the file, of text or with ``b`` of bytes."""
        stream = io.BytesIO(self.read_bytes())
        return stream if "b" in mode else io.TextIOWrapper(stream, *args, **kwargs)

    def read_bytes(self) -> bytes:
        """Return the bytes of the file.

        Raises:
            OSError: There is no such file.
        """
        found = self._files.get(self._path)
        if found is None:
            number = errno.EISDIR if self.is_dir() else errno.ENOENT
            raise OSError(number, os.strerror(number), self._path)
        return found

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """Return the text of the file.

        Raises:
            OSError: There is no such file.
        """
        stream = io.BytesIO(self.read_bytes())
        with io.TextIOWrapper(stream, io.text_encoding(encoding), errors) as text:
            return text.read()


class BundleReader(TraversableResources):
    """Reads resources of a package that was loaded from a bundle.

    Args:
        bundle: The bundle.
        path: Path of the package's ``__init__.py``.
    """

    def __init__(self, bundle: Bundle, path: str) -> None:
        self._files: _Resource = _Resource(
            bundle.files, _member(bundle, path).rpartition("/")[0]
        )

    def files(self) -> Traversable:
        """Return the folder of the package."""
        return self._files
