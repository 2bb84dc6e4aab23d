"""`Judge`: decides by the lock whether a unit may run, before its first line runs.

It is given all files of the unit as they were read at one moment. It looks at their
size, their signatures, their digest, and at what else a host checks, in this order. It
runs nothing. What it lets pass is what is executed: the loader keeps the bytes.
"""

from __future__ import annotations

import enum
import logging
import os
import re
from typing import TYPE_CHECKING, Any, Literal

import attrs

from luminal.errors import (
    LockFileError,
    PhotonVerificationError,
    did_you_mean,
    nearest,
)
from luminal.store import state_directory
from luminal.trust._latest import Latest
from luminal.trust._lock import LOCK_NAME, LockEntry, LockFile, Mode, updating
from luminal.trust._vault import Vault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from luminal.trust._bundle import Bundle
    from luminal.trust._signatures import Verified
    from luminal.trust._tree import Tree

__all__ = [
    "MOST_BYTES",
    "MOST_FILES",
    "Judge",
    "Status",
    "Unit",
    "Verdict",
    "bundle_unit",
    "capabilities_between",
    "changes_between",
    "lock_asked_for",
    "open_judge",
    "plain_name",
]

_VERSIONED = re.compile(r"^([^/]+)-[^/-]+\.dist-info/")

MOST_FILES = 20_000
"""Files of one unit."""
MOST_BYTES = 512 * 2**20
"""Bytes of one unit; they stay in memory."""


class Status(enum.StrEnum):
    """What is known of a unit."""

    CORE = "core"
    SIGNED = "signed"
    PINNED = "pinned"
    UNPINNED = "unpinned"
    MODIFIED = "modified"
    REVOKED = "revoked"


@attrs.frozen
class Unit:
    """A unit that is to be judged.

    Attributes:
        name: Its name in the lock, see `LockEntry.name`.
        source: ``distribution``, ``directory`` or ``bundle``; ``editable`` for what is
            installed and has no list of its files.
        version: Its version, or an empty string.
        files: Path in the tree → bytes.
        tree: Their tree.
        has_run: It has run in this process, and is returned to.
        bundle: The bundle that it is, with its signatures; else None.
    """

    name: str
    source: Literal["distribution", "directory", "bundle", "editable"]
    version: str
    files: Mapping[str, bytes] = attrs.field(repr=False)
    tree: Tree = attrs.field(repr=False)
    has_run: bool = False
    bundle: Bundle | None = None


@attrs.frozen
class Verdict:
    """What the judge says of a unit.

    Attributes:
        status: What is known of it.
        why: One line about that.
        is_allowed: Whether it may run.
        hint: What to do, where it may not.
        is_first: It may run because it is used for the first time.
        signers: Names of the keys that have signed it.
        of_keys: How many keys may sign.
        verified: By which keys it was signed; None where it was not.
    """

    status: Status
    why: str
    is_allowed: bool = True
    hint: str = ""
    is_first: bool = False
    signers: tuple[str, ...] = ()
    of_keys: int = 0
    verified: Verified | None = attrs.field(default=None, repr=False)

    @property
    def text(self) -> str:
        """The status as it is shown, with the number of keys that have signed."""
        if self.status is not Status.SIGNED:
            return str(self.status)
        return f"{self.status} {len(self.signers)}/{self.of_keys}"


@attrs.define(eq=False)
class Judge:
    """Decides for one host what may run.

    Args:
        path: The lock's absolute path.
        mode: The least strict mode; the file may ask for a stricter one.
        is_off: Whether the file's own mode is ignored: the host has switched it off.
        vault: Keeps the files of what is accepted.
    """

    path: str
    mode: Mode = Mode.OFF
    is_off: bool = False
    vault: Vault = attrs.Factory(lambda: Vault(_vault_directory()))
    _latest: Latest[LockFile] = attrs.Factory(
        lambda: Latest(LockFile.load, LockFile.parse)
    )
    _is_seen: bool = False

    @property
    def file(self) -> LockFile:
        """The lock as it is now.

        Raises:
            LockFileError: It cannot be read, or has gone while it was in force.
        """
        try:
            file = self._latest.of(self.path)
        except FileNotFoundError:
            if not self._is_seen and self.mode is not Mode.OFF:
                return LockFile(self.path, self.mode)
            raise LockFileError(
                "is gone, and was in force",
                file=self.path,
                hint="take it from version control again, or restart the host",
            ) from None
        self._is_seen = True
        return file

    @property
    def present_mode(self) -> Mode:
        """The mode that is in force now: the strictest one that anybody asks for."""
        return self._mode_of(self.file)

    def _mode_of(self, file: LockFile) -> Mode:
        asked = Mode.OFF if self.is_off else file.mode
        return max(asked, self.mode, key=lambda mode: mode.rank)

    def wants(self, name: str, source: str) -> bool:
        """Whether all files of a unit are to be read and judged.

        Otherwise it is ``unpinned``: a directory that the lock does not name.
        """
        file = self.file
        mode = self._mode_of(file)
        if mode is not Mode.PIN or source not in ("directory", "editable"):
            return mode is not Mode.OFF
        return name in file.units or _hidden_by(name) in file.units

    def judge(self, unit: Unit) -> Verdict:
        """Decide whether *unit* may run; what is used for the first time is pinned.

        Raises:
            PhotonVerificationError: It must not run; says what has changed.
            LockFileError: The lock cannot be read.
        """
        verdict = self.look(unit)
        if verdict.is_first:
            verdict = self._take(unit, verdict)
        if not verdict.is_allowed:
            raise PhotonVerificationError(
                f"{unit.name!r} is {verdict.text}",
                why=verdict.why,
                hint=verdict.hint,
            )
        if verdict.verified is not None and unit.bundle is not None:
            from luminal.trust._signatures import HighestVersions

            highest = HighestVersions()
            try:  # no older version may run later
                highest.note(unit.bundle.manifest, verdict.verified)
            except OSError as error:
                raise PhotonVerificationError(
                    f"{unit.name!r} cannot be accepted",
                    file=highest.path,
                    why=f"its version cannot be written down: {error}",
                    hint="make room, or set LUMINAL_STATE_DIR to another directory",
                ) from error
        return verdict

    def look(self, unit: Unit) -> Verdict:
        """Return what `judge` says of *unit*; nothing is raised for it, or written.

        Raises:
            LockFileError: The lock cannot be read.
        """
        file = self.file
        mode, entry = self._mode_of(file), file.units.get(unit.name)
        if mode is Mode.OFF:
            return Verdict(Status.UNPINNED, "the lock's mode is 'off'")
        refused = _refused(unit, file)
        if refused is not None:
            return refused
        verified: Verified | None = None
        unsigned: PhotonVerificationError | None = None
        try:
            verified = _verified(unit, file)
        except PhotonVerificationError as error:
            unsigned = error
        signers = _names(verified, file)
        signed_by: dict[str, Any] = {
            "signers": signers,
            "of_keys": len(file.keys),
            "verified": verified,
        }
        accept = f"to run it: luminal lock accept {unit.name}"
        if mode is Mode.SIGNED and not signers:
            why = "it has no signatures; the mode 'signed' runs signed bundles only"
            hint = "make a bundle of it: luminal pack; then sign it: luminal sign"
            if unsigned is not None:
                why, hint = _why(unsigned, unit), unsigned.hint or ""
            return Verdict(Status.UNPINNED, why, False, hint)
        is_signed = mode is Mode.SIGNED
        if entry and not (is_signed or self._is_accepted(unit, entry)):
            return Verdict(
                Status.MODIFIED,
                changes_between(self.vault, entry, unit),
                False,
                f"{accept}; to see more: luminal lock diff {unit.name}",
            )
        if is_signed:
            why = f"signed by {', '.join(signers)}"
            return Verdict(Status.SIGNED, why, **signed_by)
        if entry is not None:
            why = "its files are those that were accepted"
            if entry.tree != unit.tree.digest:
                why = "its files are those that were accepted before"
            status = Status.SIGNED if signers else Status.PINNED
            return Verdict(status, why, **signed_by)
        if mode.rank >= Mode.FROZEN.rank:
            why = f"the lock does not list it, and its mode is {str(mode)!r}"
            return Verdict(Status.UNPINNED, why, False, accept)
        if unit.source == "directory" and _hidden_by(unit.name) in file.units:
            why = f"it hides {_hidden_by(unit.name)!r}, which the lock lists"
            return Verdict(Status.MODIFIED, why, False, f"remove one; or, {accept}")
        if unit.source == "directory":
            return Verdict(Status.UNPINNED, "the lock does not list it")
        if unit.source == "editable":
            return Verdict(Status.UNPINNED, "it is installed editable, without a list")
        return Verdict(Status.PINNED, "used for the first time", is_first=True)

    @staticmethod
    def _signers(unit: Unit, file: LockFile) -> tuple[str, ...]:
        try:
            return _names(_verified(unit, file), file)
        except PhotonVerificationError:
            return ()

    @staticmethod
    def _is_accepted(unit: Unit, entry: LockEntry) -> bool:
        accepted = {entry.tree, entry.previous} if unit.has_run else {entry.tree}
        return unit.tree.digest in accepted

    def _take(self, unit: Unit, verdict: Verdict) -> Verdict:
        """Write that *unit* was used for the first time."""
        try:
            self.accept(unit, is_first=True)
        except OSError as error:
            why = f"the lock does not list it, and cannot be written: {error.strerror}"
            hint = (
                f"let the host write {self.path}; or run luminal lock where it can be"
            )
            return attrs.evolve(
                verdict, status=Status.UNPINNED, why=why, is_allowed=False, hint=hint
            )
        # Another host may have been faster, with other files.
        return attrs.evolve(self.look(unit), is_first=True)

    def check_name(self, unit: Unit) -> None:
        """Refuse a unit that no lock can list.

        Raises:
            LockFileError: Its name has characters that no text may have.
        """
        if not unit.name.isprintable():
            raise LockFileError(
                f"cannot list {unit.name!a}",
                file=self.path,
                why="a name in it has characters that no text may have",
                hint="rename the file",
            )

    def accept(self, unit: Unit, *, is_first: bool = False) -> LockEntry:
        """Write that the files of *unit* may run; what may run now is its ``previous``.

        Args:
            unit: The unit.
            is_first: Whether an entry that is there already stays as it is.

        Raises:
            OSError: The lock cannot be written.
            LockFileError: It cannot be read.
        """
        self.check_name(unit)
        if not self.vault.keep(unit.files, unit.tree):
            logging.getLogger("luminal.trust").warning(
                "the files of %r cannot be kept in %s: where another version is "
                "installed and nobody has accepted it, none will run",
                unit.name,
                self.vault.directory or "a directory for state, which there is not",
            )
        capabilities = _capabilities_of(unit.files)

        def change(file: LockFile) -> LockFile:
            before = file.units.get(unit.name)
            if before is not None and (is_first or before.tree == unit.tree.digest):
                return file
            source = "directory" if unit.source == "editable" else unit.source
            return file.with_entry(
                LockEntry(
                    unit.name,
                    source,
                    unit.version,
                    unit.tree.digest,
                    self._signers(unit, file),
                    capabilities,
                    before.tree if before is not None else "",
                )
            )

        with updating(self.path) as update:
            return update(change).units[unit.name]


def _capabilities_of(files: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return what *files* say that they do, as a lock keeps it."""
    from luminal.trust._profile import profile_of

    return tuple(profile_of(files).keys)


def bundle_unit(path: str) -> Unit:
    """Return the bundle at *path* as a unit.

    Raises:
        PhotonVerificationError: It is no sound bundle.
        OSError: It cannot be read.
    """
    from packaging.utils import canonicalize_name

    from luminal.trust._bundle import read_bundle
    from luminal.trust._tree import tree_of

    bundle = read_bundle(path)
    files, manifest = dict(bundle.files), bundle.manifest
    name, version = canonicalize_name(manifest.name), manifest.version
    return Unit(name, "bundle", version, files, tree_of(files), bundle=bundle)


def _names(verified: Verified | None, file: LockFile) -> tuple[str, ...]:
    """Return the names that *file* has for the keys that have signed."""
    names = {key.strip().casefold(): name for name, key in file.keys.items()}
    keys = verified.keys if verified is not None else ()
    return tuple(sorted(names.get(key.casefold(), key) for key in keys))


def _verified(unit: Unit, file: LockFile) -> Verified | None:
    """Return by which keys of *file* a bundle was signed; else None.

    Raises:
        PhotonVerificationError: Too few of them have, or an older version was accepted
            with a higher number.
    """
    bundle = unit.bundle
    if bundle is None or not file.keys:
        return None
    from luminal.trust._signatures import HighestVersions, verify

    if unit.tree.digest != bundle.manifest.tree:
        raise PhotonVerificationError(
            f"{unit.name} has files that nobody has signed",
            file=bundle.path,
            why="its photons own libraries (photon_owns), which are not in the bundle",
            hint="put these libraries into the package",
        )
    return verify(
        bundle.manifest,
        bundle.signatures,
        file.keys.values(),
        max(file.threshold, 1),
        file=bundle.path,
        highest=None if unit.has_run else HighestVersions(),
    )


def _hidden_by(name: str) -> str:
    """Return the name of the module or package that a directory's unit may hide."""
    return f"{name[:-1]}.py" if name.endswith("/") else f"{name.removesuffix('.py')}/"


def _refused(unit: Unit, file: LockFile) -> Verdict | None:
    """Return that a unit is refused whoever has accepted it; None where it is not."""
    too_large = _too_large(unit)
    if too_large:
        return Verdict(Status.MODIFIED, too_large, False, "remove what is not its own")
    from luminal.trust._kill_list import current_kill_list

    try:
        current_kill_list(file).check(unit.name, unit.version, unit.tree.digest)
    except PhotonVerificationError as error:  # killed, or nobody knows
        return Verdict(Status.REVOKED, _why(error, unit), False, error.hint or "")
    return None


def _why(error: PhotonVerificationError, unit: Unit) -> str:
    """Return what *error* says, with its file where that is none of the unit."""
    own = unit.bundle.path if unit.bundle is not None else None
    place = f"{error.file}: " if error.file not in (None, "", own) else ""
    return f"{place}{error.what}: {error.why}"


def _too_large(unit: Unit) -> str:
    size = sum([file.size for file in unit.tree.files])
    if len(unit.tree.files) > MOST_FILES:
        return f"it has more than {MOST_FILES} files"
    return f"it has more than {MOST_BYTES} bytes" if size > MOST_BYTES else ""


def changes_between(vault: Vault, entry: LockEntry, unit: Unit) -> str:
    """Return in one line what is different from what was accepted of *unit*."""
    parts = capabilities_between(entry, unit)
    if entry.version != unit.version:
        parts.append(f"version {entry.version or 'none'} -> {unit.version or 'none'}")
    try:
        tree = vault.tree(entry.tree)
    except PhotonVerificationError:
        tree = None
    if tree is None:
        parts.append("its files are not those that were accepted")
        return "; ".join(parts)
    for verb, paths in zip(
        ("added", "changed", "removed"),
        _plain(tree).changes_to(_plain(unit.tree)),
        strict=True,
    ):
        if paths:
            left = f" and {len(paths) - 8} more" if len(paths) > 8 else ""
            parts.append(f"{verb} {', '.join(paths[:8])}{left}")
    return "; ".join(parts)


def capabilities_between(entry: LockEntry | None, unit: Unit) -> list[str]:
    """Return in words what the text of *unit* says it does, and was not accepted."""
    from luminal.trust._profile import drift, profile_of

    known = entry.capabilities if entry is not None else ()
    return [str(each) for each in drift(tuple(known), profile_of(unit.files))]


def plain_name(path: str) -> str:
    """Return the name of a file in a tree, without the version of its metadata."""
    return _VERSIONED.sub(r"\1.dist-info/", path)


def _plain(tree: Tree) -> Tree:
    from luminal.trust._tree import Tree

    return Tree(tuple(each._replace(path=plain_name(each.path)) for each in tree.files))


def _vault_directory() -> str | None:
    state = state_directory()
    return os.path.join(state, "vault") if state is not None else None


def lock_asked_for(chosen: str | None, *modes: str) -> tuple[str, Mode]:
    """Return where a lock is, and the strictest mode that anybody asks for.

    Args:
        chosen: Path of the lock, or a mode; empty or None for neither.
        *modes: Further modes. So is that of ``$LUMINAL_LOCK``.

    Raises:
        LockFileError: There is no such mode. A misspelt one must not be less strict.
    """
    known, asked = [*map(str, Mode)], [Mode.OFF]
    rows = [("mode", mode) for mode in modes]
    rows.append(("$LUMINAL_LOCK", os.environ.get("LUMINAL_LOCK", "")))
    path = LOCK_NAME
    if chosen in known:
        asked.append(Mode(chosen))
    elif chosen:
        path = chosen
        is_word = chosen.strip().isalpha() and not os.path.lexists(path)
        word = chosen.strip().casefold()
        if is_word and (word in known or nearest(word, known)):
            rows.append(("the setting 'lock'", chosen))
    for name, value in rows:
        if value and value not in known:
            plain = value.strip().casefold()
            like = f"; did you mean {plain!r}?"
            if plain not in known:
                like = did_you_mean(plain, known, "; ")
            raise LockFileError(
                f"{name} is {value!r}",
                why="there is no such mode",
                hint=f"use one of off, pin, frozen and signed{like}",
            )
        asked += [Mode(value)] if value else []
    return os.path.abspath(path), max(asked, key=lambda each: each.rank)


def open_judge(
    lock: str | os.PathLike[str] | None = None, mode: str = ""
) -> Judge | None:
    """Return the judge of a host; None where there is no lock.

    Args:
        lock: Path of the lock; or a mode, with the lock of the current directory; or
            None for the lock of the current directory, if there is one.
        mode: A mode that may be stricter. So may that of ``$LUMINAL_LOCK``.

    Raises:
        LockFileError: The lock cannot be read, or there is no such mode.
        FileNotFoundError: There is no lock at the path that was given.
    """
    chosen = os.fspath(lock) if lock is not None else ""
    path, strictest = lock_asked_for(chosen, mode)
    is_mode = chosen in list(Mode)
    if not os.path.lexists(path):
        if chosen and not is_mode:
            raise LockFileError(
                "there is no lock",
                file=path,
                hint="run luminal lock; or correct the path",
            )
        if strictest is Mode.OFF:
            return None
    judge = Judge(path, strictest, is_off=chosen == Mode.OFF)
    return judge if judge.present_mode is not Mode.OFF else None
