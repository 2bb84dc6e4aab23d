"""Reads directories and distributions where the index has no answer.

Every look at the disk goes through a `RecordingFileSystem`, so that the index can tell
later whether its answer still holds. Each file is read and parsed once a run, or not at
all where an earlier run knows its facts.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from typing import TYPE_CHECKING

from luminal.discovery._directory import (
    read_directory,
    read_unit,
    warn_of_forgotten_bases,
)
from luminal.discovery._draft import DISTRIBUTION, Draft, draft_of
from luminal.discovery._files import (
    Fingerprint,
    Folder,
    Listing,
    list_directory,
    read_bytes,
    stat_records,
)
from luminal.discovery._names import fold
from luminal.discovery._order import arrange
from luminal.discovery._static import ClassFacts, DepthError, ModuleFacts, facts_of
from luminal.errors import PhotonSyntaxError, PhotonUnreadableError, nearest
from luminal.store import settled, stamp_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from luminal.discovery._discover import Request
    from luminal.model import Problem
    from luminal.store import Stamp

__all__ = ["RecordingFileSystem", "find_candidates", "find_candidates_in_file"]

_LASTING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES})
"""Errors that a later look repeats as long as nobody changes anything."""

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})
"""Errors that mean that there is nothing."""


class RecordingFileSystem:
    """Looks at the disk, and keeps what one run of a discovery has seen.

    Attributes:
        now: The clock before the first look, in nanoseconds.
        memo: Path → (digest, packed facts), of this run.
        is_void: Whether something was seen that another look may not show again.
        warnings: What is wrong though it can be loaded.
        unclaimed: (path, class) of classes in directories that are no photons, with
            hook implementations, a misspelt base, or ``photon_name`` and no base.
        bases: Last parts of the names of all base classes there.
    """

    __slots__ = (
        "_facts",
        "_folders",
        "_known",
        "_regular",
        "_seen",
        "_stamps",
        "bases",
        "is_void",
        "memo",
        "now",
        "unclaimed",
        "warnings",
    )

    def __init__(
        self, now: int, known: dict[str, tuple[str, tuple[object, ...]]]
    ) -> None:
        self.now = now
        self._folders: dict[tuple[str, bool], Folder] = {}
        # Paths that need no look before they are opened: a listing says what they are.
        self._regular: set[str] = set()
        # Path → (stamp, digest or empty); or the number of the error.
        self._stamps: dict[str, tuple[Stamp, str] | int | None] = {}
        self.memo: dict[str, tuple[str, tuple[object, ...]]] = {}
        self.is_void = False
        self.warnings: list[Problem] = []
        self.unclaimed: list[tuple[str, ClassFacts]] = []
        self.bases: set[str] = set()
        self._known = known
        self._facts: dict[str, ModuleFacts] = {}
        self._seen: dict[str, bytes | PhotonUnreadableError] = {}

    def fingerprint(self) -> Fingerprint:
        """Return all that was seen, to be checked later."""
        there = {p: s for p, s in self._stamps.items() if isinstance(s, tuple)}
        gone = {p: s for p, s in self._stamps.items() if not isinstance(s, tuple)}
        # Of what was read the error is part of the answer, else that there is one.
        refused = {p: number for p, number in gone.items() if p in self._seen}
        seen = stat_records(
            {
                p
                for (p, _), (_, names) in self._folders.items()
                if not isinstance(names, int)
            },
            {p: stamp for p, (stamp, _) in there.items()},
            [p for p in gone if p not in refused],
        )
        return Fingerprint(
            self._folders,
            seen,
            refused,
            {p: s for p, s in there.items() if not settled(s[0], self.now)},
        )

    def identity(self, path: str) -> tuple[int, int] | str:
        """Return (inode, device) of a file that was looked at, else its path."""
        seen = self._stamps.get(path)
        return seen[0][1:3] if isinstance(seen, tuple) else path

    def modules(self, directory: str) -> Listing:
        """Return what *directory* holds for photons, or an error's number."""
        return self._list(directory, True)

    def packages(self, directory: str) -> Listing:
        """Return what *directory*, an entry of ``sys.path``, says is installed."""
        return self._list(directory, False)

    def is_file(self, path: str) -> bool:
        """Return whether there is a regular file at *path*."""
        return stat.S_ISREG(self._mode(path))

    def exists(self, path: str) -> bool:
        """Return whether there is anything at *path*, links followed."""
        return self._mode(path) != 0

    def note_classes(
        self, path: str, facts: ModuleFacts, photons: list[ClassFacts], base: str
    ) -> None:
        """Remember which classes of a module in a directory are no photons.

        Args:
            path: Of the module.
            facts: Of the module.
            photons: Its photons.
            base: Name of the photon base.
        """
        for each in facts.classes.values():
            self.bases.update([name.rpartition(".")[2] for name in each.bases])
            if each in photons:
                # Its name is enough for a class whose bases are not known.
                if each.has_no_base:
                    self.unclaimed.append((path, each))
                continue
            if each.has_hooks or any(
                _is_misspelt(facts, name, base) for name in each.bases
            ):
                self.unclaimed.append((path, each))

    def note_archive(self, path: str) -> None:
        """Look at an entry of ``sys.path`` that is no directory: it may be an archive.

        What is in it is not recorded, so the answer depends on its stamp.
        """
        self._mode(path)
        seen = self._stamps.get(path)
        if isinstance(seen, tuple) and not settled(seen[0], self.now):
            self.is_void = True

    def read_if_there(self, path: str) -> bytes | None:
        """Return the bytes of the file at *path*, None where there is nothing.

        Raises:
            PhotonUnreadableError: See `luminal.discovery._files.read_bytes`.
        """
        return self.read(path) if self._mode(path) or self._is_refused(path) else None

    def _is_refused(self, path: str) -> bool:
        """Whether the system did not say if there is anything at *path*."""
        seen = self._stamps.get(path)
        return isinstance(seen, int) and seen not in _ABSENT

    def read(self, path: str, *, needs_digest: bool = False) -> bytes:
        """Return the bytes of the file at *path*.

        Args:
            path: Absolute path.
            needs_digest: Whether its digest is to be known.

        Raises:
            PhotonUnreadableError: See `luminal.discovery._files.read_bytes`.
        """
        seen = self._seen.get(path)
        if seen is None:
            try:
                known = self._stamps.get(path)
                is_file = path in self._regular
                if isinstance(known, tuple):
                    is_file = stat.S_ISREG(known[0][0])
                seen, stamp = read_bytes(path, is_known=is_file)
                # What a stamp does not prove is compared by its digest later on.
                is_proof = not needs_digest and settled(stamp, self.now)
                digest = "" if is_proof else hashlib.sha512(seen).hexdigest()
                self._keep(path, stamp, digest)
            except PhotonUnreadableError as error:
                seen = error
                self._mode(path)
                if error.errno is not None and error.errno not in _LASTING:
                    self.is_void = True
            self._seen[path] = seen
        if isinstance(seen, PhotonUnreadableError):
            raise seen
        return seen

    def facts(self, path: str) -> ModuleFacts:
        """Return what the module at *path* says about itself."""
        facts = self._facts.get(path)
        if facts is None:
            facts = self._facts[path] = self._look(path)
        return facts

    def _look(self, path: str) -> ModuleFacts:
        try:
            data = self.read(path, needs_digest=True)
        except PhotonUnreadableError as error:
            from luminal.model import Problem

            return ModuleFacts(problem=Problem.of(error, "read"))
        del self._seen[path]  # read once more only if somebody asks for the bytes
        stamp_and_digest = self._stamps[path]
        assert isinstance(stamp_and_digest, tuple)  # noqa: S101  (it was read)
        digest = stamp_and_digest[1]
        known = self._known.get(path)
        if known is not None and known[0] == digest:
            self.memo[path] = known
            return ModuleFacts.deserialize(known[1])
        try:
            facts = facts_of(data, path, digest)
        except DepthError as error:
            from luminal.model import Problem

            self.is_void = True
            refusal = PhotonSyntaxError(
                "is not readable Python",
                file=path,
                why=f"it is nested too deeply ({error})",
                hint="break the expression up",
            )
            return ModuleFacts(digest, Problem.of(refusal, "compile"))
        self.memo[path] = (digest, facts.serialize())
        return facts

    def _list(self, directory: str, of_modules: bool) -> Listing:
        key = (directory, of_modules)
        if key not in self._folders:
            found = list_directory(
                directory, self.now, of_modules=of_modules, files=self._regular
            )
            self._folders[key] = found
            if isinstance(found[1], int) and found[1] not in _LASTING:
                self.is_void = True
        return self._folders[key][1]

    def _mode(self, path: str) -> int:
        """Return the mode of what is at *path*, 0 if there is nothing."""
        if path not in self._stamps:
            try:
                self._keep(path, stamp_of(os.stat(path)), "")
            except OSError as error:
                self._stamps[path] = error.errno
                if error.errno not in _LASTING:
                    self.is_void = True
            except ValueError:  # a null byte in a name that a file gave us
                return 0
        seen = self._stamps[path]
        return seen[0][0] if isinstance(seen, tuple) else 0

    def _keep(self, path: str, stamp: Stamp, digest: str) -> None:
        before = self._stamps.get(path)
        if before is not None and (isinstance(before, int) or before[0] != stamp):
            self.is_void = True  # it changes while we look
        self._stamps[path] = (stamp, digest)


def find_candidates(request: Request, files: RecordingFileSystem) -> list[Draft]:
    """Return everything that *request* asks for, seen through *files*.

    Args:
        request: What to look for, and where.
        files: Keeps what is looked at.
    """
    found = [*_without_duplicates(_scan_all(request, files), files)]
    warn_of_forgotten_bases(files, request.base)
    return arrange(_disable_unwanted(found, request), api_version=request.api_version)


def find_candidates_in_file(
    path: str,
    base: str,
    api_version: str | None,
    files: RecordingFileSystem,
    roots: tuple[str, ...] = (),
) -> list[Draft]:
    """Return the photons of the one unit at *path*, in load order.

    Args:
        path: Absolute path.
        base: Name of the photon base.
        api_version: See `luminal.discovery.discover`.
        files: Keeps what is looked at.
        roots: Absolute paths of directories whose modules are the photons' own.
    """
    if path.endswith(".photon"):
        from luminal.discovery._bundles import read_bundle_file

        drafts = [draft_of(found) for found in read_bundle_file(files, path)]
        return arrange(drafts, api_version=api_version, is_part=True)
    origin = os.path.dirname(path)
    if os.path.basename(path) == "__init__.py":
        origin = os.path.dirname(origin)
    found = read_unit(files, path, origin, base, roots, asked_for=True)
    return arrange(found, api_version=api_version, is_part=True)


def _scan_all(request: Request, files: RecordingFileSystem) -> Iterator[Draft]:
    if request.group is not None:
        from luminal.discovery._metadata import read_installed

        yield from read_installed(files, request.path, request.group, request.base)
    for directory in request.directories:
        yield from read_directory(
            files,
            directory,
            request.base,
            recursive=request.recursive,
            roots=request.roots,
        )


def _without_duplicates(
    candidates: Iterable[Draft], files: RecordingFileSystem
) -> Iterator[Draft]:
    """Drop what was found before: overlapping directories, an editable install.

    A directory may be reached by two paths, so the file counts, not its path.
    """
    seen: set[object] = set()
    for candidate in candidates:
        file = files.identity(candidate.location)
        attribute = candidate.target.rpartition(":")[2]
        same_file = (file, attribute, candidate.name)
        installed = (file, attribute)
        if candidate.source is DISTRIBUTION:
            seen.add(installed)
        elif same_file in seen or installed in seen:
            continue
        seen.add(same_file)
        yield candidate


def _disable_unwanted(candidates: Iterable[Draft], request: Request) -> Iterator[Draft]:
    """Switch off what the host does not want."""
    allowed = None if request.allow is None else set(map(fold, request.allow))
    blocked = set(map(fold, request.block))
    for candidate in candidates:
        name = fold(candidate.name)
        is_wanted = (allowed is None or name in allowed) and name not in blocked
        if candidate.enabled and is_wanted:
            yield candidate
        else:  # it is not loaded, so its problem does not matter
            yield candidate._replace(enabled=False, problem=None)


def _is_misspelt(facts: ModuleFacts, name: str, base: str) -> bool:
    """Whether *name*, of which a class of a module derives, was to be *base*."""
    head, _, _ = name.partition(".")
    last = name.rpartition(".")[2]
    if last == base:
        return False
    reference = facts.imports[head][0] if head in facts.imports else ""
    is_ours = reference.partition(":")[0].partition(".")[0] == "luminal"
    is_near = is_ours and bool(nearest(base, [last]))
    return is_near or last.casefold() == base.casefold()
