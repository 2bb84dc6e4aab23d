"""All files of a unit, read at one moment and judged before its first line runs.

Only where a lock is in force. A unit that the lock names is then executed from these
bytes alone, and its data files are read from them: what is on the disk is not looked at
again, and what was not judged is refused.
"""

from __future__ import annotations

import io
import os
from hashlib import sha512
from importlib.resources.abc import Traversable, TraversableResources
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import attrs

from luminal._phases import enter
from luminal.discovery import canonical, find_data_files, is_data, read_bytes
from luminal.errors import (
    PhotonTornError,
    PhotonUnreadableError,
    PhotonVerificationError,
)
from luminal.loading._origin import (
    BundleOrigin,
    DistributionOrigin,
    ModuleLocation,
)
from luminal.loading._source import SourceFile, literals_of
from luminal.trust import (
    MOST_BYTES,
    MOST_FILES,
    FileDigest,
    Status,
    Tree,
    Unit,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from luminal.loading._origin import Origin
    from luminal.loading._source import Pinned
    from luminal.trust import Judge, LockEntry

__all__ = [
    "CORE",
    "Snapshot",
    "SnapshotReader",
    "accepted_entry",
    "judged",
    "read_data",
    "snapshot_of",
    "with_snapshot",
]

_BY_INSTALLERS = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
_MOST_DIRECTORIES = 10_000
_OWNED = "_owned"
_by_name = attrgetter("name")


@attrs.frozen
class Snapshot:
    """All files of a unit as they were at one moment.

    Attributes:
        unit: What the judge is given.
        base: The directory that the paths of its tree begin in.
        folder: The directory below which every file that is read must be one of these.
        files: Absolute path → bytes.
        verdict: What the judge has said; None before that.
    """

    unit: Unit
    base: str
    folder: str
    files: Mapping[str, SourceFile] = attrs.field(repr=False)
    verdict: Verdict | None = None

    def source(self, path: str) -> SourceFile:
        """Return the bytes of the file at *path*.

        Raises:
            PhotonVerificationError: It is none of those that were judged.
        """
        found = self.files.get(path) or self.files.get(os.path.normpath(path))
        if found is None:
            raise PhotonVerificationError(
                f"is no file of {self.unit.name!r} as it was judged",
                file=path,
                why="it was not there when the unit was read, or is no part of it",
                hint="a data file of a lone module: name it in photon_files; then run "
                f"luminal lock accept {self.unit.name}",
            )
        return found

    def data(self, path: str) -> bytes | None:
        """Return the bytes of a data file; None for one that is not the unit's.

        Raises:
            FileNotFoundError: There is none.
            PhotonVerificationError: It is none of those that were judged.
        """
        known = self.files.get(path)
        if known is not None:
            return known.data
        if not path.startswith(os.path.join(self.folder, "")):
            return None
        if not os.path.lexists(path):
            raise FileNotFoundError(2, "No such file among those judged", path)
        return self.source(path).data


def accepted_entry(judge: Judge, name: str) -> LockEntry | None:
    """Return what the lock lists as *name*, if the vault has its files."""
    entry = judge.file.units.get(name)
    return entry if entry is not None and judge.vault.has(entry.tree) else None


def judged(
    judge: Judge,
    unit: str,
    origin: Origin,
    location: ModuleLocation | None,
    pinned: Pinned | None,
    read: Callable[[str], SourceFile],
    *,
    has_run: bool = False,
) -> tuple[Pinned | None, Verdict]:
    """Let the judge look at all files of a unit, before any of it runs.

    Args:
        judge: Of the host.
        unit: Full name of the unit.
        origin: Where its modules are found.
        location: Where its root module lies, if that is known.
        pinned: Files that were read already; these bytes are used.
        read: Returns the bytes of a file.
        has_run: Whether these files have run in this process before.

    Returns:
        The files to be used instead of those on disk, and the verdict.

    Raises:
        ModuleNotFoundError: It is not there.
        PhotonVerificationError: It must not run.
        LockFileError: The lock cannot be read.
    """
    if pinned is not None:
        location = pinned.locations.get(unit) or location
    if location is None:  # somebody may put it there in the next moment
        raise ModuleNotFoundError(f"No module named {unit!r}", name=unit)
    known = pinned.snapshot if pinned is not None else None
    if known is None:
        name, source, _ = _identity(judge, origin, location)
        if not judge.wants(name, source):
            why = "the lock does not list it"
            return pinned, Verdict(_UNPINNED, why)
        pinned = with_snapshot(judge, unit, origin, location, pinned, read)
        known = pinned.snapshot
    assert pinned is not None  # noqa: S101 - just made
    assert known is not None  # noqa: S101 - likewise
    asked = known.unit
    if has_run or known.verdict is not None:
        asked = attrs.evolve(asked, has_run=True)
    verdict = judge.judge(asked)
    if verdict.status == _UNPINNED and asked.source in ("directory", "editable"):
        # Its directory is being worked in; the next save is not held up.
        return pinned.with_snapshot(None), verdict
    snapshot = Snapshot(known.unit, known.base, known.folder, known.files, verdict)
    return pinned.with_snapshot(snapshot), verdict


_UNPINNED = Status.UNPINNED

CORE = Verdict(Status.CORE, "the host has imported its modules itself")
"""Of the host's own code: what the host imports, no lock judges."""


def _identity(
    judge: Judge, origin: Origin, location: ModuleLocation
) -> tuple[str, Any, str]:
    """Return name, source and version of a unit for the lock."""
    bundle = origin.bundle if isinstance(origin, BundleOrigin) else None
    if bundle is not None:
        return canonical(bundle.manifest.name), "bundle", bundle.manifest.version
    if isinstance(origin, DistributionOrigin):
        stem = os.path.splitext(os.path.basename(origin.metadata))[0]
        project, _, version = stem.rpartition("-")
        name = canonical(project or stem) or origin.root[0]
        is_listed = origin.record is not None
        return name, "distribution" if is_listed else "editable", version
    path = location.path
    if location.kind == "package":
        path = os.path.join(os.path.dirname(path), "")
    name = _relative(path, os.path.dirname(judge.path))
    name = name.replace(os.sep, "/")
    return name + "/" if location.kind == "package" else name, "directory", ""


def _relative(path: str, directory: str) -> str:
    """Return *path* as it is written from *directory*."""
    start = os.path.join(directory, "")
    if path.startswith(start) and os.path.normpath(path) == path:
        return path[len(start) :]  # each save asks, and `relpath` takes long
    try:
        return os.path.relpath(path, directory)
    except ValueError:  # another drive
        return path


def snapshot_of(
    judge: Judge,
    origin: Origin,
    location: ModuleLocation,
    pinned: Pinned | None,
    read: Callable[[str], SourceFile],
) -> Snapshot:
    """Read all files of a unit, but for those that *pinned* has.

    Raises:
        PhotonUnreadableError: One cannot be read.
        PhotonTornError: One that a distribution lists is not there.
    """
    name, source, version = _identity(judge, origin, location)
    files = dict(pinned.sources) if pinned is not None else {}
    bundle = origin.bundle if isinstance(origin, BundleOrigin) else None
    base = folder = os.path.dirname(location.path)
    paths: Iterable[str] = ()
    if bundle is not None:
        base = folder = bundle.path
        digests = {path: digest for path, _, digest in bundle.manifest.files}
        for member, data in bundle.files.items():
            path = os.path.join(base, *member.split("/"))
            files.setdefault(path, SourceFile(path, data, digests[member]))
    elif source == "distribution":
        assert isinstance(origin, DistributionOrigin)  # noqa: S101 - see _identity
        base = os.path.dirname(origin.metadata)
        paths = _installed(origin, files)
    elif location.kind == "package":
        base = os.path.dirname(folder)
        paths = _below(folder)
    else:
        paths = chain((location.path,), _declared(location.path, files))
    if location.kind != "package" and source == "distribution":
        folder = location.path  # beside it lie the files of others
    owned = pinned.owned if pinned is not None else {}
    for top, directory in owned.items():
        paths = chain(paths, _below(os.path.join(directory, top)))
    _read_all(paths, files, read, is_installed=source == "distribution")
    start = os.path.join(base, "")
    width = len(start)
    names = [
        path[width:].replace(os.sep, "/")
        if path.startswith(start)
        else _name_outside(path, owned)
        for path in files
    ]
    every = [each.data for each in files.values()]
    sums = [each.checksum for each in files.values()]
    rows = sorted(map(FileDigest, names, map(len, every), sums))
    contents = dict(zip(names, every, strict=True))
    if len(contents) < len(rows):
        raise PhotonVerificationError(
            f"has two files that a lock would list under one name, in {name!r}",
            file=location.path,
            why="the digest of its tree would be of one of them",
            hint=f"rename what is called {_OWNED!r} in it",
        )
    asked = Unit(name, source, version, contents, Tree(tuple(rows)), bundle=bundle)
    return Snapshot(asked, base, folder, files)


def _read_all(
    paths: Iterable[str],
    files: dict[str, SourceFile],
    read: Callable[[str], SourceFile],
    *,
    is_installed: bool,
) -> None:
    """Add the files at *paths* to *files*, but for those that are there already."""
    size = sum([len(each.data) for each in files.values()])
    for path in paths:
        if path in files:
            continue
        if size > MOST_BYTES or len(files) > MOST_FILES:
            break  # the judge refuses it; the rest is not read into memory
        try:
            each = files[path] = read_data(path) if is_data(path) else read(path)
        except PhotonUnreadableError as error:
            if not is_installed:
                raise
            raise PhotonTornError(
                error.what,
                file=path,
                why=error.why,
                hint="install the distribution again",
            ) from error
        size += len(each.data)


def with_snapshot(
    judge: Judge,
    unit: str,
    origin: Origin,
    location: ModuleLocation,
    pinned: Pinned | None,
    read: Callable[[str], SourceFile],
) -> Pinned:
    """Return *pinned* with all files of the unit; see `snapshot_of`."""
    from luminal.loading._source import Pinned

    snapshot = snapshot_of(judge, origin, location, pinned, read)
    before = pinned or Pinned({unit: location}, {})
    sources = {p: s for p, s in snapshot.files.items() if p.endswith(".py")}
    return before.with_snapshot(snapshot, sources)


def _installed(
    origin: DistributionOrigin, known: Mapping[str, SourceFile]
) -> Iterator[str]:
    """Yield the files that a distribution has brought, without what installers add.

    Those that are *known* may be left out.
    """
    metadata = os.path.basename(origin.metadata)
    for name, path, _ in origin.record or ():
        if path in known:
            continue
        first, _, rest = name.partition("/")
        is_installers = first == metadata and rest.startswith(_BY_INSTALLERS)
        is_outside = first in ("..", "") or ":" in first
        if not (is_installers or is_outside or _is_compiled(name)):
            yield path


def _is_compiled(path: str) -> bool:
    return path.endswith((".pyc", ".pyo")) or "__pycache__" in path


def _below(folder: str) -> Iterator[str]:
    """Yield the files in and below *folder*, without hidden and compiled ones."""
    seen: set[tuple[int, int]] = set()
    queue = [folder]
    while queue and len(seen) < _MOST_DIRECTORIES:
        directory = queue.pop()
        try:
            status = os.stat(directory)
            if (status.st_dev, status.st_ino) in seen:
                continue  # a link leads back
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(directory) as entries:
                found = sorted(entries, key=_by_name)
        except OSError:
            continue
        for entry in found:
            name = entry.name
            if name[0] == "." or _is_compiled(name) or name.endswith(("~", ".swp")):
                continue
            try:
                is_directory, is_file = entry.is_dir(), entry.is_file()
            except OSError:
                continue  # a link to itself
            if is_directory:
                queue.append(entry.path)
            elif is_file:
                yield entry.path


def _declared(path: str, known: Mapping[str, SourceFile]) -> Iterator[str]:
    """Yield the data files that the text of a lone module declares."""
    source = known.get(path)
    if source is not None and b"photon_files" in source.data:
        for pattern in literals_of("photon_files", path, source):
            yield from find_data_files(path, pattern)


def read_data(path: str) -> SourceFile:
    """Read a file that is no module.

    Raises:
        PhotonUnreadableError: It is no regular file, too large, or not readable.
    """
    before = enter("read")
    try:
        data, _ = read_bytes(path, is_known=True, limit=MOST_BYTES)
        enter("hash")
        return SourceFile(path, data, sha512(data).hexdigest())
    finally:
        enter(before)


def _name_outside(path: str, owned: Mapping[str, str]) -> str:
    """Return the name in the unit's tree of a file that does not lie in its base."""
    for directory in owned.values():
        start = os.path.join(directory, "")
        if path.startswith(start):
            return f"{_OWNED}/" + path[len(start) :].replace(os.sep, "/")
    return path.replace(os.sep, "/")


# --- Resources -----------------------------------------------------------------------


@attrs.frozen
class _Resource(Traversable):
    """A file or directory of a snapshot, for `importlib.resources`."""

    snapshot: Snapshot
    path: str

    @property
    def name(self) -> str:
        """The last part of its path."""
        return os.path.basename(self.path)

    def iterdir(self) -> Iterator[_Resource]:
        """Yield what lies in it."""
        start = os.path.join(self.path, "")
        inside = [p[len(start) :] for p in self.snapshot.files if p.startswith(start)]
        for name in sorted({each.partition(os.sep)[0] for each in inside}):
            yield _Resource(self.snapshot, os.path.join(self.path, name))

    def is_dir(self) -> bool:
        """Whether something lies below it."""
        start = os.path.join(self.path, "")
        return any(path.startswith(start) for path in self.snapshot.files)

    def is_file(self) -> bool:
        """Whether it is one of the files."""
        return self.path in self.snapshot.files

    def joinpath(self, *descendants: Any) -> _Resource:
        """Return what lies below it."""
        parts = [part for each in descendants for part in str(each).split("/")]
        return _Resource(
            self.snapshot, os.path.normpath(os.path.join(self.path, *parts))
        )

    def __truediv__(self, child: Any) -> _Resource:
        return self.joinpath(child)

    def read_bytes(self) -> bytes:
        """Return the bytes that were judged."""
        data = self.snapshot.data(self.path)
        if data is None:
            raise FileNotFoundError(2, "No such file among those judged", self.path)
        return data

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """Return the same as text."""
        with self.open(encoding=encoding, errors=errors) as file:
            return str(file.read())

    def open(self, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        """Open it for reading."""
        if set(mode) - set("rbt"):
            raise OSError(30, "Read-only file system", self.path)
        stream = io.BytesIO(self.read_bytes())
        if "b" in mode:
            return stream
        return io.TextIOWrapper(stream, *args, **kwargs)


class SnapshotReader(TraversableResources):
    """Reads resources of a judged unit: the bytes that were judged.

    Args:
        snapshot: Of the unit.
        path: The ``__init__.py`` of the package.
    """

    def __init__(self, snapshot: Snapshot, path: str) -> None:
        self._root = _Resource(snapshot, os.path.dirname(path))

    def files(self) -> Traversable:
        """Return the directory of the package."""
        return self._root
