"""Which distributions are installed, by importlib-metadata; none is imported.

importlib-metadata finds them: dist-info folders, eggs, wheels and other archives on the
path, and what finders of others know. Their files are read through a
`RecordingFileSystem` where they lie in a directory, so that the index knows what an
answer depends on.
"""

from __future__ import annotations

import os
import sys
import threading
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import attrs

from luminal.errors import PhotonUnreadableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from luminal.discovery._scan import RecordingFileSystem

__all__ = [
    "Distribution",
    "FinderFailure",
    "Installed",
    "canonical",
    "installed_distributions",
]

_LIBRARY = "importlib_metadata"
_loading = threading.Lock()
_own: Any = None
"""importlib-metadata, where the host has not imported it."""


def _library() -> Any:
    """Return importlib-metadata, and leave the process as it is.

    Importing it replaces the standard library's finder of distributions:
    ``importlib.metadata.distributions()`` of the host returns other objects from then
    on. So where the host has not imported it, the standard finder is put back, and
    `sys.modules` keeps nothing of it: the host sees the same whether the index had an
    answer or not.
    """
    global _own
    if _LIBRARY in sys.modules:
        return import_module(_LIBRARY)
    with _loading:
        if _own is None:
            before = {id(finder) for finder in sys.meta_path}
            standard = vars(PathFinder).get("find_distributions")
            try:
                _own = import_module(_LIBRARY)
            finally:
                for name in list(sys.modules):
                    if name.partition(".")[0] == _LIBRARY:
                        del sys.modules[name]
                for finder in list(sys.meta_path):
                    if _home(finder) == _LIBRARY and id(finder) not in before:
                        sys.meta_path.remove(finder)
                if standard is not None:
                    PathFinder.find_distributions = standard  # type: ignore[method-assign]
        return _own


def _home(finder: object) -> str:
    return str(getattr(finder, "__module__", ""))


def canonical(name: str) -> str:
    """Return *name* in the form in which names of distributions compare (PEP 503)."""
    parts = name.lower().replace("_", "-").replace(".", "-").split("-")
    return "-".join(part for part in parts if part)


@attrs.define(eq=False)
class Distribution:
    """An installed distribution.

    Attributes:
        name: Canonical name.
        version: Version in its folder's name, empty where that has none.
        folder: Absolute path of its metadata in a directory, else empty.
        site: Entry of the path that its modules lie in, empty where unknown.
        place: What to call it in errors: the folder, the archive, or the finder.
    """

    name: str
    version: str
    folder: str
    site: str
    place: str
    _files: RecordingFileSystem
    # What importlib-metadata knows, if it does not lie in a directory.
    _found: Any = None

    @property
    def is_egg(self) -> bool:
        """Whether its metadata are in the form of setuptools before PEP 376."""
        return self.folder.lower().endswith("egg-info")

    @property
    def metadata(self) -> str:
        """Path of its metadata, for errors."""
        name = "PKG-INFO" if self.is_egg else "METADATA"
        return os.path.join(self.folder or self.place, name)

    def path(self, name: str) -> str:
        """Return the path of the metadata file *name*, for errors."""
        return os.path.join(self.folder or self.place, name)

    def read(self, name: str) -> bytes | None:
        """Return the metadata file *name*, None where there is none.

        Raises:
            PhotonUnreadableError: It cannot be read.
        """
        if self._found is None:
            return self._files.read_if_there(os.path.join(self.folder, name))
        try:
            text = self._found.read_text(name)
        except Exception as error:
            raise PhotonUnreadableError(
                f"belongs to a distribution whose {name} cannot be read",
                file=self.place,
                why=f"{type(error).__name__}: {error}",
                hint="install the distribution again",
            ) from error
        return None if text is None else str(text).encode()

    def read_metadata(self) -> bytes | None:
        """Return its core metadata, None where it has none.

        Raises:
            PhotonUnreadableError: They cannot be read.
        """
        if self._found is not None:
            return self.read("METADATA") or self.read("PKG-INFO")
        return self._files.read_if_there(self.metadata)

    def egg_requires(self) -> tuple[str, ...]:
        """Return what an egg requires; its metadata do not say it.

        Setuptools writes sections of ``[extra:marker]``, either part may be missing.

        Raises:
            PhotonUnreadableError: It cannot be read.
        """
        found: list[str] = []
        condition = ""
        text = self.read("requires.txt") or b""
        for line in map(str.strip, text.decode(errors="replace").splitlines()):
            if line[:1] == "[" and line[-1:] == "]":
                extra, _, marker = line[1:-1].partition(":")
                parts = [f"({marker})"] if marker else []
                parts += [f"extra == {extra!r}"] if extra else []
                condition = " ; " + " and ".join(parts) if parts else ""
            elif line and line[0] != "#":
                found.append(line + condition)
        return tuple(found)

    def locate(self, name: str) -> str:
        """Return where a finder of others says that the file *name* lies."""
        try:
            path = os.path.abspath(os.fspath(self._found.locate_file(name)))
        except Exception:  # noqa: BLE001  (code of others)
            return ""
        return path if self._files.is_file(path) else ""

    @property
    def is_found_by_others(self) -> bool:
        """Whether it lies in an archive, or wherever a finder of others finds it."""
        return self._found is not None

    def fits_record(self) -> bool:
        """Whether each module in its RECORD is there with the digest given.

        What cannot be read does not fit.
        """
        import base64
        import csv
        import hashlib

        try:
            rows = [*csv.reader((self.read("RECORD") or b"").decode().splitlines())]
        except (PhotonUnreadableError, ValueError, csv.Error):
            return False
        modules = [row for row in rows if len(row) >= 2 and row[0].endswith(".py")]
        for name, digest, *_ in modules:
            path = os.path.normpath(os.path.join(self.site, name))
            try:
                data = self._files.read_if_there(path)
            except PhotonUnreadableError:
                data = None
            if data is None:
                return False
            raw = base64.urlsafe_b64encode(hashlib.sha256(data).digest())
            if digest and digest != "sha256=" + raw.rstrip(b"=").decode():
                return False
        return bool(modules)


@attrs.frozen
class FinderFailure:
    """A finder of others that raised.

    Attributes:
        finder: What to call it.
        error: What it raised, in words.
    """

    finder: str
    error: str


@attrs.define(eq=False)
class Installed:
    """What is installed.

    Attributes:
        by_name: Canonical name → its distributions, the one that counts first; see
            `Installed.choose`.
        failures: Finders that raised.
    """

    by_name: dict[str, list[Distribution]] = attrs.Factory(dict)
    failures: list[FinderFailure] = attrs.Factory(list)
    # Canonical name → the one that counts, and those that it cannot be told from.
    _chosen: dict[str, tuple[Distribution, ...]] = attrs.Factory(dict)

    def choose(self, name: str) -> tuple[Distribution, ...]:
        """Return the distribution that *name* means; several if that is unclear.

        What has no metadata is the rest of an earlier installation. The first entry of
        the path wins, as in an import. Of several folders in one entry, a ``dist-info``
        wins over an ``egg-info``, else the one whose RECORD fits the files: ``pip
        install --target --upgrade`` leaves the older one there.

        Args:
            name: Canonical name; empty if it is not installed.
        """
        if name not in self._chosen:
            several = self.by_name.get(name, [])
            self._chosen[name] = tuple(several if len(several) < 2 else _best(several))
        return self._chosen[name]


def _best(several: list[Distribution]) -> list[Distribution]:
    whole = [d for d in several if _has_metadata(d)] or several
    if whole[0].is_found_by_others:
        return whole[:1]  # its finder comes first
    whole = [d for d in whole if d.site == whole[0].site]
    modern = [d for d in whole if not d.is_egg] or whole[:1]
    if len(modern) > 1:
        fitting = [d for d in modern if d.fits_record()]
        if len(fitting) == 1:
            return fitting
    return modern


def _has_metadata(distribution: Distribution) -> bool:
    try:
        return bool(distribution.read_metadata())
    except PhotonUnreadableError:
        return True  # it has some, and its problem is reported


def installed_distributions(
    files: RecordingFileSystem, path: tuple[str, ...]
) -> Installed:
    """Return what is installed on *path*, or where finders of others look.

    Args:
        files: Where files are looked at.
        path: Absolute entries of ``sys.path``.
    """
    for entry in path:
        if isinstance(files.packages(entry), int):
            files.note_archive(entry)
    installed = Installed()
    for found in _distributions(path):
        if isinstance(found, FinderFailure):
            installed.failures.append(found)
            continue
        made = _distribution(files, found)
        if isinstance(made, FinderFailure):
            installed.failures.append(made)
        elif made is not None:
            installed.by_name.setdefault(made.name, []).append(made)
    for several in installed.by_name.values():
        if len(several) > 1:
            sites = {d.site: i for i, d in reversed([*enumerate(several)])}
            several.sort(key=lambda d: (sites[d.site], d.is_egg, d.place))
    return installed


def _distributions(path: Iterable[str]) -> Iterator[Any]:
    library = _library()
    own = library.MetadataPathFinder
    own.invalidate_caches()  # it trusts a directory's time, which has ticks
    context = library.DistributionFinder.Context(path=list(path))
    is_asked = False
    for finder in [*sys.meta_path, own]:
        if finder is PathFinder or finder is own or isinstance(finder, own):
            if not is_asked:
                is_asked = True
                yield from own.find_distributions(context)
            continue
        find = getattr(finder, "find_distributions", None)
        if find is not None:
            try:
                yield from find(context)
            except Exception as error:  # noqa: BLE001  (code of others)
                yield FinderFailure(_name(finder), f"{type(error).__name__}: {error}")


def _name(finder: object) -> str:
    kind = finder if isinstance(finder, type) else type(finder)
    return f"{kind.__module__}.{kind.__qualname__}"


def _distribution(
    files: RecordingFileSystem, found: Any
) -> Distribution | FinderFailure | None:
    path = getattr(found, "_path", None)
    if path is None:
        return _of_others(files, found)
    plain = os.path.abspath(str(path))
    site, folder = os.path.split(plain)
    if folder[0] == "~":
        return None  # pip begins the name of what it is about to remove so
    stem = os.path.splitext(folder)[0]
    if folder.lower() == "egg-info":
        stem = os.path.splitext(os.path.basename(site))[0]
        folder = "x.egg-info"
    if folder.lower().endswith(".egg-info"):
        project, version, *_ = [*stem.split("-"), ""]
    else:
        project, _, version = stem.rpartition("-")
    name = canonical(project or stem)
    if isinstance(path, Path):
        return Distribution(name, version, plain, site, plain, files)
    archive = cast("Any", path).root.filename
    place = os.path.abspath(archive) if archive else plain
    return Distribution(name, version, "", place, place, files, found)


def _of_others(files: RecordingFileSystem, found: Any) -> Distribution | FinderFailure:
    kind = _name(found)
    try:
        metadata = found.metadata
        name, version = str(metadata["Name"]), str(metadata["Version"] or "")
    except Exception as error:  # noqa: BLE001  (code of others)
        return FinderFailure(kind, f"{type(error).__name__}: {error}")
    return Distribution(canonical(name), version, "", kind, kind, files, found)
