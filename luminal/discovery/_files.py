"""Reads files and directories, and tells later whether they are as they were.

A discovery depends on nothing but what it reads. So each look is recorded, and an
earlier answer holds exactly as long as every look would give the same result. Files are
read once, whole and bounded, and nothing that is not a regular file is opened. A warm
start needs this module and little else: it imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import errno
import marshal
import os
import stat
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from luminal.errors import LuminalError, PhotonUnreadableError
from luminal.store import Stamp, settled, stamp_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

__all__ = [
    "LIMIT",
    "Fingerprint",
    "Folder",
    "Listing",
    "StatRecords",
    "are_unchanged",
    "files_of",
    "find_data_files",
    "is_as_before",
    "is_checkers_copy",
    "is_data",
    "is_data_file",
    "list_directory",
    "modules_around",
    "read_bytes",
    "stat_records",
]

LIMIT = 16 * 1024 * 1024
"""Most bytes of a source or metadata file; a photon is text that people write."""

_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_FLAGS |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)

_KINDS = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISSOCK, "a socket"),
)
_HINTS = {
    errno.EACCES: "give the host's user permission to read it",
    errno.EPERM: "give the host's user permission to read it",
    errno.ENOENT: "fix or remove the link: its target is gone",
    errno.ELOOP: "fix or remove the link: it leads back to itself",
}


def read_bytes(
    path: str, *, is_known: bool = False, limit: int = LIMIT
) -> tuple[bytes, Stamp]:
    """Return a regular file's bytes and the stamp that it had before they were read.

    Args:
        path: Path of the file; links are followed.
        is_known: Whether it has been looked at before, or is named by code that runs.
        limit: Most bytes that it may have.

    Raises:
        PhotonUnreadableError: It is missing, of another kind, too large, or the
            system refuses to read it; ``errno`` is that of the cause.
    """
    try:
        # Looked at before it is opened: to open a device can already do something.
        if not is_known:
            _check(path, os.stat(path), limit)
        descriptor = os.open(path, _FLAGS)
        try:
            status = os.fstat(descriptor)
            _check(path, status, limit)
            return _all(descriptor, status.st_size, path, limit), stamp_of(status)
        finally:
            os.close(descriptor)
    except PhotonUnreadableError:
        raise
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: OSError | ValueError) -> PhotonUnreadableError:
    number = getattr(error, "errno", None)
    refusal = PhotonUnreadableError(
        "cannot be read",
        file=path,
        why=getattr(error, "strerror", None) or str(error),
        hint=_HINTS.get(number or 0, "check the file and the disk that it is on"),
    )
    refusal.errno = number
    return refusal


def _check(path: str, status: os.stat_result, limit: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((k for is_a, k in _KINDS if is_a(status.st_mode)), "no file")
        raise PhotonUnreadableError(
            "cannot be read",
            file=path,
            why=f"it is {kind}",
            hint="put a regular file there, or remove it",
        )
    if status.st_size > limit:
        raise _too_large(path, status.st_size, limit)


def _all(descriptor: int, size: int, path: str, limit: int) -> bytes:
    data = os.read(descriptor, size + 1)
    if len(data) == size:
        return data
    parts = [data]  # its size changes meanwhile: read to the end, within bounds
    total = len(data)
    while part := os.read(descriptor, 1 << 20):
        parts.append(part)
        total += len(part)
        if total > limit:
            raise _too_large(path, total, limit)
    return b"".join(parts)


def _too_large(path: str, size: int, limit: int) -> PhotonUnreadableError:
    return PhotonUnreadableError(
        "is too large",
        file=path,
        why=f"it has {size:,} bytes, the limit is {limit:,}",
        hint="move its data into a file that the photon opens itself",
    )


_MODULES = (".py", ".photon")
_PACKAGES = (".dist-info", ".egg-info", ".pth", "EGG-INFO")

Listing = tuple[object, ...] | int
"""(device, inode, names…) of a directory, or the number of the error."""

Folder = tuple[Stamp | None, Listing]
"""A listing, and the stamp that proves it as long as the directory has it, or None."""


def list_directory(
    path: str, now: int, *, of_modules: bool, files: set[str] | None = None
) -> Folder:
    """Return what is in the directory at *path*, sorted; directories end in ``/``.

    Args:
        path: Its path.
        now: The clock at or before this moment, in nanoseconds.
        of_modules: Whether it is a directory of photons: its modules and directories
            matter, hidden names (``.``, ``_``) never. Else it is an entry of
            ``sys.path``, and what says that something is installed there matters.
        files: Paths of modules that are regular files by what the listing says of
            them; this adds to it.
    """
    try:
        stamp = stamp_of(os.stat(path))
        found = _modules(path, files) if of_modules else _packages(path)
    except OSError as error:
        return None, error.errno or -1
    found.sort()
    # The target of a link may become a directory, and nothing changes beside the link.
    is_proof = not of_modules and _tells_names(stamp, now)
    return stamp if is_proof else None, (stamp[2], stamp[1], *found)


def is_as_before(path: str, stamp: Stamp | None) -> bool:
    """Return whether *stamp* still proves what was listed of the directory."""
    try:
        return stamp is not None and stamp_of(os.stat(path)) == stamp
    except OSError:
        return False


def _tells_names(stamp: Stamp, now: int) -> bool:
    """Return whether no name can come or go without another stamp.

    A directory's ``mtime`` and ``ctime`` are the time of that (POSIX, "File Times
    Update"). Time 0 is no time: the root of a FAT volume has it after each mount.
    """
    return settled(stamp, now) and min(stamp[4], stamp[5]) > 0


def _packages(path: str) -> list[str]:
    # pip begins the name of what it is about to remove with a tilde.
    return [n for n in os.listdir(path) if n.endswith(_PACKAGES) and n[0] != "~"]


def _modules(path: str, files: set[str] | None) -> list[str]:
    found: list[str] = []
    with os.scandir(path) as entries:
        for entry in entries:
            name = entry.name
            if name[0] in "._":
                continue
            if _is_directory(entry):
                if not name.endswith(_PACKAGES):
                    found.append(name + "/")
            elif name.endswith(_MODULES) and not is_checkers_copy(name):
                found.append(name)
                if files is not None and entry.is_file(follow_symlinks=False):
                    files.add(entry.path)
    return found


def is_checkers_copy(name: str) -> bool:
    """Return whether an Emacs checks a copy of a text in a file called *name*.

    Flycheck and Flymake write it beside the text, and delete it a moment later.
    Sources: flycheck-temp-prefix in flycheck.el, and
    flymake-proc-create-temp-inplace in flymake-proc.el.
    """
    return name.startswith("flycheck_") or name.endswith("_flymake.py")


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself
        return False


_IS_RELATIVE = {os.stat, os.access, os.open} <= os.supports_dir_fd
_FOLDER = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_FOLDER |= getattr(os, "O_PATH", os.O_RDONLY)  # Linux: no permission to list is needed
_EXISTS = partial(os.access, mode=os.F_OK)
if os.access in os.supports_effective_ids:
    _EXISTS = partial(_EXISTS, effective_ids=True)


StatRecords = tuple[bytes, bytes, bytes, bytes]
"""The stat record of one directory: its absolute path; paths from there to
what was there, divided by null bytes; their stamps, packed; paths to what was not."""


def are_unchanged(stats: StatRecords) -> bool:
    """Return whether everything in *stats* is as it was."""
    folder, names, stamps, gone = stats
    there, absent = _divided(names), _divided(gone)
    if not _IS_RELATIVE:
        there = [os.path.join(folder, name) for name in there]
        absent = [os.path.join(folder, name) for name in absent]
        return _are(there, stamps, absent)
    try:
        root = os.open(folder, _FOLDER)
    except OSError:
        return False
    try:
        return _are(there, stamps, absent, root)
    finally:
        os.close(root)


def stat_records(
    roots: Collection[str], there: Mapping[str, Stamp], absent: Iterable[str]
) -> list[StatRecords]:
    """Return the stat records of *there* and *absent*, one a directory.

    Args:
        roots: Directories that many of the paths are below.
        there: Absolute path → stamp.
        absent: Absolute paths.
    """
    known: dict[str, str] = {}
    seen: dict[str, tuple[list[str], list[Stamp], list[str]]] = {}
    # By inodes: neighbours in the tables of the system are met one after the other.
    by_inode = sorted(there.items(), key=lambda item: item[1][1:3])
    for path, stamp in (*by_inode, *((path, None) for path in absent)):
        folder = os.path.dirname(path)
        if folder not in known:
            known[folder] = _root(folder, roots)
        names, stamps, gone = seen.setdefault(known[folder], ([], [], []))
        if stamp is None:
            gone.append(path)
        else:
            names.append(path)
            stamps.append(stamp)
    return [
        (os.fsencode(root), _joined(names, root), _packed(s), _joined(gone, root))
        for root, (names, s, gone) in seen.items()
    ]


def _root(folder: str, roots: Collection[str]) -> str:
    """Return the outermost of *roots* around *folder*, else the root of all."""
    found = ""
    while True:
        if folder in roots:
            found = folder
        above = os.path.dirname(folder)
        if above == folder:
            return found or folder
        folder = above


def _joined(paths: Iterable[str], root: str) -> bytes:
    start = len(os.path.join(root, ""))
    return b"\0".join(os.fsencode(path[start:]) for path in paths)


def _divided(names: bytes) -> list[bytes]:
    return names.split(b"\0") if names else []


def _packed(stamps: Iterable[Stamp]) -> bytes:
    # Version 2 writes equal values as equal bytes; later ones count references.
    return marshal.dumps(list(chain.from_iterable(stamps)), 2)


def _are(
    there: list[bytes], stamps: bytes, absent: list[bytes], root: int | None = None
) -> bool:
    try:
        now = _packed(map(stamp_of, map(partial(os.stat, dir_fd=root), there)))
    except OSError:
        return False
    exists = partial(_EXISTS, dir_fd=root)
    # A sandbox may refuse the question, which stats like a no: ask what has to be yes.
    is_answered = not absent or exists(os.fsencode(os.sep))
    return now == stamps and is_answered and not any(map(exists, absent))


class Fingerprint:
    """All that one discovery read, in the form in which it compares fastest.

    Args:
        folders: (directory, whether of modules) → what `list_directory` returned.
        stats: Stamps of what was there, and paths of what was not.
        refused: Path → number of the error, of what could not be read.
        doubtful: Path → (stamp, SHA-512 hex digest or empty where it was not read),
            of those that a stamp does not tell of, see `settled`.
    """

    __slots__ = ("_doubtful", "_folders", "_refused", "_stats")

    def __init__(
        self,
        folders: dict[tuple[str, bool], Folder],
        stats: list[StatRecords],
        refused: dict[str, int | None],
        doubtful: dict[str, tuple[Stamp, str]],
    ) -> None:
        self._folders = folders
        self._stats = stats
        self._refused = refused
        self._doubtful = doubtful

    def serialize(self) -> tuple[object, ...]:
        """Return the arguments that make an equal one, for the index to keep."""
        return self._folders, self._stats, self._refused, self._doubtful

    def still(self, now: int) -> Fingerprint | None:
        """Return an equal fingerprint if everything is as it was, else None.

        Files that have aged are known for certain now, and leave the doubtful ones.

        Args:
            now: The clock before this call, in nanoseconds.
        """
        folders = self._listed(now)
        if (
            folders is None
            or not all(map(are_unchanged, self._stats))
            or not all(_is_refused(*kept) for kept in self._refused.items())
            or not all(_has_digest(p, *kept) for p, kept in self._doubtful.items())
        ):
            return None
        doubtful = {p: k for p, k in self._doubtful.items() if not settled(k[0], now)}
        if not folders and len(doubtful) == len(self._doubtful):
            return self
        folders = self._folders | folders
        return Fingerprint(folders, self._stats, self._refused, doubtful)

    def _listed(self, now: int) -> dict[tuple[str, bool], Folder] | None:
        """Return new proof of the old listings, None if there are other ones now."""
        found: dict[tuple[str, bool], Folder] = {}
        for (path, of_modules), (stamp, listing) in self._folders.items():
            if is_as_before(path, stamp):
                continue
            seen = list_directory(path, now, of_modules=of_modules)
            if seen[1] != listing:
                return None
            if seen[0] != stamp:
                found[path, of_modules] = seen
        return found


def _is_refused(path: str, number: int | None) -> bool:
    try:
        os.stat(path)
    except OSError as error:
        return error.errno == number
    return False


def _has_digest(path: str, stamp: Stamp, digest: str) -> bool:
    if not digest:
        return True
    import hashlib

    try:
        data, seen = read_bytes(path)
    except OSError:
        return False
    return seen == stamp and hashlib.sha512(data).hexdigest() == digest


_MOST_FILES, _MOST_BYTES = 5_000, 64 * 2**20
"""Bounds of what `files_of` reads of one photon."""


def files_of(location: str) -> dict[str, bytes]:
    """Return the modules of the unit of a photon as they are on disk now.

    A lone file, all files of the package that the photon's file is in, or those in a
    bundle. What cannot be read, and what is beyond some thousand files, is left out.

    Args:
        location: The photon's file, see `luminal.model.Candidate`.

    Returns:
        Path below the unit's directory, with ``/`` → bytes.
    """
    if location.endswith(".photon"):
        from luminal.trust import read_bundle

        try:
            packed = read_bundle(location).files
        except LuminalError:
            return {}
        return {p: d for p, d in packed.items() if p.endswith(_MODULE_ENDINGS)}
    top, paths = _unit_of(location)
    return {
        os.path.relpath(path, top).replace(os.sep, "/"): data
        for path, data in _read_modules(paths).items()
    }


def modules_around(location: str, *, is_alone: bool = False) -> dict[str, bytes]:
    """Return the modules of a photon's unit, and all others of its directory.

    So also the helpers that its text may import. The same is left out as for
    `files_of`; hidden directories are, too.

    Args:
        location: A file of it, which is no bundle.
        is_alone: Whether only those of the unit are wanted.

    Returns:
        Absolute path → bytes, as they are on disk now.
    """
    top, paths = _unit_of(location)
    if not is_alone:
        folder = top if paths == [location] else os.path.dirname(top)
        paths = [*dict.fromkeys((*paths, *_walk(folder)))]
    return _read_modules(paths)


def _unit_of(location: str) -> tuple[str, list[str]]:
    """Return the directory of the unit that a file is in, and the files in it."""
    top = os.path.dirname(location)
    is_package = False
    while os.path.isfile(os.path.join(top, "__init__.py")):
        is_package = True
        above = os.path.dirname(top)
        if not os.path.isfile(os.path.join(above, "__init__.py")):
            break
        top = above
    if is_package:
        return top, _walk(top)
    return top, [location] if location else []


def _walk(top: str) -> list[str]:
    paths: list[str] = []
    for folder, folders, names in os.walk(top):
        folders[:] = sorted(n for n in folders if n != "__pycache__" and n[0] != ".")
        paths += [os.path.join(folder, name) for name in sorted(names)]
        if len(paths) > _MOST_FILES:
            break
    return paths


def _read_modules(paths: list[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    size = 0
    for path in paths[:_MOST_FILES]:
        if not path.endswith(_MODULE_ENDINGS) or size > _MOST_BYTES:
            continue
        if not os.path.isfile(path):  # a pipe has no end
            continue
        with contextlib.suppress(OSError), open(path, "rb") as file:
            data = file.read(_MOST_BYTES)
            size += len(data)
            found[path] = data
    return found


_MODULE_ENDINGS = (".py", ".pyw", ".pyc", ".so", ".pyd", ".dll", ".dylib")


def find_data_files(location: str, pattern: str) -> list[str]:
    """Return the data files that a pattern of ``photon_files`` matches.

    Modules are none: they are watched anyway.

    Args:
        location: File of the photon; the pattern is relative to its folder.
        pattern: As for `glob.glob`; ``**`` matches directories.

    Returns:
        Absolute paths, in their order.
    """
    import glob  # few photons declare any

    folder = os.path.dirname(location)
    found = glob.iglob(pattern, root_dir=folder, recursive=True)
    paths = {os.path.normpath(os.path.join(folder, each)) for each in found}
    return sorted(path for path in paths if is_data(path) and os.path.isfile(path))


def is_data_file(location: str, pattern: str, path: str) -> bool:
    """Whether the file at *path* is one that `find_data_files` returns.

    Args:
        location: As for that.
        pattern: Likewise.
        path: An absolute path.
    """
    folder = os.path.dirname(location)
    if not path.startswith(os.path.join(folder, "")):
        return False
    parts = os.path.normpath(pattern).split(os.sep)
    names = os.path.relpath(path, folder).split(os.sep)
    return _matches(parts, names) and is_data(path) and os.path.isfile(path)


def _matches(parts: list[str], names: list[str]) -> bool:
    """Whether a path matches a pattern, both in parts, by the rules of `glob`."""
    import fnmatch

    if not parts:
        return not names
    part, rest = parts[0], parts[1:]
    if part == "**":
        if not rest:
            return not any(name.startswith(".") for name in names)
        return _matches(rest, names) or (
            len(names) > 1 and names[0][0] != "." and _matches(parts, names[1:])
        )
    return (
        bool(names)
        and fnmatch.fnmatch(names[0], part)
        and (part.startswith(".") or not names[0].startswith("."))
        and _matches(rest, names[1:])
    )


def is_data(path: str) -> bool:
    """Whether the file at *path* is no module."""
    return not path.endswith((".py", ".pyc", ".pyo"))
