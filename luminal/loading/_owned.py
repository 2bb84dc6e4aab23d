"""Libraries that a photon declares as its own, by ``photon_owns``.

Their modules are part of the photon's unit: read, executed, replaced and freed with it.
They get names below the unit's, such as ``geo._owned.bridgelib.core``, so that neither
the host nor another photon sees them; each has a copy of its own. Import statements of
the unit and of the library itself find them under the names that the library has.
"""

from __future__ import annotations

import os
from importlib.machinery import EXTENSION_SUFFIXES
from typing import TYPE_CHECKING

import attrs

from luminal.errors import (
    PhotonDependencyError,
    PhotonTornError,
    PhotonValidationError,
)
from luminal.loading._late import read_unit
from luminal.loading._origin import look, rows_of_record
from luminal.loading._source import digest_of, literals_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from luminal.loading._source import Pinned, SourceFile

__all__ = ["add_owned"]

_ATTRIBUTE = "photon_owns"
_OWNED = "_owned"


def add_owned(
    unit: str,
    files: Pinned,
    read: Callable[[str], SourceFile],
    *,
    is_checked: bool = False,
) -> Pinned:
    """Return *files* of a unit, and those of the libraries that it owns.

    Args:
        unit: Full name of the unit.
        files: Its own files.
        read: Returns the bytes of a file.
        is_checked: Whether the files of the libraries must be those that their RECORD
            lists: pip may be at work.

    Raises:
        PhotonDependencyError: A library is not installed.
        PhotonValidationError: It cannot be owned, or the declaration cannot be read.
        PhotonTornError: It is incomplete.
    """
    if files.owned:
        return files
    names = dict.fromkeys(_declared(unit, files, read))
    if not names:
        return files
    locations, sources = dict(files.locations), dict(files.sources)
    owned: dict[str, str] = {}
    for name in names:
        library = _installed(name, is_checked=is_checked)
        for top in library.tops:
            location = look(library.entry, top, unit)
            if location is None:
                continue
            found = read_unit(f"{unit}.{_OWNED}.{top}", location, read)
            for fullname, each in found.locations.items():
                locations[fullname] = attrs.evolve(each, unit=unit)
            sources.update(found.sources)
            owned[top] = library.entry
        if is_checked:
            library.check(sources)
    return attrs.evolve(files, locations=locations, sources=sources, owned=owned)


def _declared(
    unit: str, files: Pinned, read: Callable[[str], SourceFile]
) -> Iterator[str]:
    """Yield what the files of a unit declare, without executing them."""
    for path, source in files.sources.items():
        if _ATTRIBUTE.encode() in source.data:
            yield from literals_of(_ATTRIBUTE, path, source)
    root = files.locations.get(unit)
    if root is not None and root.kind == "package":
        path = os.path.join(os.path.dirname(root.path), "pyproject.toml")
        if os.path.isfile(path):
            from luminal.discovery import table_of

            value = table_of(read(path).data, path).get("owns", ())
            yield from value if isinstance(value, tuple) else ()


@attrs.frozen
class _Library:
    """An installed distribution.

    Attributes:
        name: Its name, as the photon declares it.
        entry: The directory that it is installed in.
        rows: (path in that directory, digest) of each file that RECORD lists.
    """

    name: str
    entry: str
    rows: tuple[tuple[str, str], ...]

    @property
    def tops(self) -> list[str]:
        """Names under which it is imported."""
        paths = [path for path, _ in self.rows if path.endswith(".py")]
        names = {path.partition("/")[0].removesuffix(".py") for path in paths}
        return sorted(filter(str.isidentifier, names))

    def check(self, sources: Mapping[str, SourceFile]) -> None:
        """Compare what was read with RECORD.

        Raises:
            PhotonTornError: A file is missing, or is another one.
        """
        for name, digest in self.rows:
            path = os.path.normpath(os.path.join(self.entry, name))
            if path in sources:
                is_right = not digest or digest == digest_of(sources[path])
            else:
                is_right = not name.endswith(".py") or os.path.exists(path)
            if not is_right:
                raise PhotonTornError(
                    f"owns {self.name!r}, whose files are not what its RECORD says",
                    file=path,
                )


def _installed(name: str, *, is_checked: bool) -> _Library:
    """Return the library that is called *name*.

    Args:
        name: Name of the distribution.
        is_checked: Whether pip may be at work.
    """
    from importlib.metadata import (
        MetadataPathFinder,
        PackageNotFoundError,
        distribution,
    )

    if is_checked:  # what is kept may be older than what pip has just done
        MetadataPathFinder().invalidate_caches()
    try:
        found = distribution(name)
    except (PackageNotFoundError, ValueError):
        kind = PhotonTornError if is_checked else PhotonDependencyError
        raise kind(
            f"owns {name!r}, which is not installed",
            why=f"no distribution is called {name!r}",
            hint=f"install it, or correct {_ATTRIBUTE}",
        ) from None
    record = found.read_text("RECORD")
    if record is None and is_checked:
        raise PhotonTornError(f"owns {name!r}, which has no RECORD yet")
    files = tuple(rows_of_record(record or ""))
    library = _Library(name, os.fspath(str(found.locate_file(""))), files)
    compiled = [path for path, _ in files if path.endswith(tuple(EXTENSION_SUFFIXES))]
    if compiled:
        raise PhotonValidationError(
            f"owns {name!r}, which has compiled modules",
            why=f"a process can have only one version of {compiled[0]}",
            hint=f"remove it from {_ATTRIBUTE}; restart the host for its upgrades",
        )
    if not library.tops:
        raise PhotonValidationError(
            f"owns {name!r}, which has no modules of its own",
            why="its RECORD lists none, as for an editable installation",
            hint=f"declare its folder with roots=…, or remove it from {_ATTRIBUTE}",
        )
    return library
