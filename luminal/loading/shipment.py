"""A distribution as it was shipped: all its source files, read in one go.

pip takes the files of a running version away. So that old code can go on importing
from itself, late and from whole files, its sources are kept from the moment that it is
loaded; RECORD says which these are.
"""

from __future__ import annotations

import base64
import csv
import io
import os
from hashlib import sha256
from importlib.machinery import EXTENSION_SUFFIXES
from typing import TYPE_CHECKING

from luminal.errors import PhotonTornError, PhotonUnreadableError
from luminal.loading.attempt import Pinned
from luminal.loading.place import Place
from luminal.loading.source import SourceFile, read_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from luminal.loading.origin import DistributionOrigin

__all__ = ["extensions_of", "read_shipment"]


def _rows(origin: DistributionOrigin) -> Iterator[tuple[str, str, str]]:
    """Yield (path in the distribution, absolute path, digest) of each row."""
    for row in csv.reader(io.StringIO(origin.record or "")):
        if len(row) >= 2:
            yield row[0], os.path.normpath(os.path.join(origin.root[1], row[0])), row[1]


def extensions_of(origin: DistributionOrigin) -> list[str]:
    """Return the compiled modules that a distribution ships."""
    suffixes = tuple(EXTENSION_SUFFIXES)
    return [name for name, _, _ in _rows(origin) if name.endswith(suffixes)]


def read_shipment(origin: DistributionOrigin, *, is_checked: bool) -> Pinned | None:
    """Read the source files of a distribution.

    Args:
        origin: The distribution.
        is_checked: Whether their digests must be those of RECORD.

    Returns:
        The files; None where there is no RECORD, as for the sources of an editable
        installation.

    Raises:
        PhotonTornError: A file is missing, or not what RECORD says if that is asked.
    """
    if origin.record is None:
        return None
    unit = origin.root[0]
    places: dict[str, Place] = {}
    sources: dict[str, SourceFile] = {}
    for name, path, digest in _rows(origin):
        fullname = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        if not name.endswith(".py") or not origin.owns(fullname):
            continue
        try:
            source = read_source(path)
        except PhotonUnreadableError as error:
            raise PhotonTornError(error.what, file=path, why=error.why) from error
        if is_checked and digest and digest != _digest(source):
            raise PhotonTornError("is not what its RECORD says", file=path)
        kind = "package" if name.endswith("/__init__.py") else "module"
        places[fullname] = Place(kind, path, unit)  # type: ignore[arg-type]
        sources[path] = source
    return Pinned(places, sources)


def _digest(source: SourceFile) -> str:
    """Return the digest of *source* as RECORD writes it."""
    raw = base64.urlsafe_b64encode(sha256(source.data).digest())
    return "sha256=" + raw.rstrip(b"=").decode()
