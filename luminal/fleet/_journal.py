"""The journal of a fleet: what was decided, in rows that are durable before they count.

A row is a line of JSON behind its CRC-32. A last line that is not whole was torn by a
crash: whoever wrote it has told nobody of it, so it counts as not written. Whoever has
the journal open decides for the fleet; the lock on the file keeps everybody else out.

A long journal is replaced when it is opened, by what of it is still needed: the new
file is durable before it gets the name, so a crash leaves the one or the other.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import threading
import time
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import attrs

from luminal._forks import begin_anew_in_forks
from luminal.errors import FleetError
from luminal.fleet._protocol import Abort, Begin, Commit, Log

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from luminal.fleet._protocol import Row

__all__ = [
    "Entry",
    "Journal",
    "JournalBusyError",
    "committed_before",
    "compacted",
    "make_durable",
    "read_journal",
]

_log = logging.getLogger("luminal.fleet")

_KINDS: Final = {"begin": Begin, "commit": Commit, "abort": Abort}
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}


_MOST_OF_ONE: Final = 8
"""More entries than there are of one swap: its begin, its end, and notes."""

_MOST_BYTES: Final = 2**20
"""A longer journal is compacted when it is opened: that is some 1,500 swaps."""

_KEPT: Final = 200
"""Swaps that a compacted journal keeps for the history, though nothing needs them."""


class JournalBusyError(FleetError):
    """Another process has the journal open: it decides for this fleet."""


@attrs.frozen
class Entry:
    """A row of the journal, and what it tells people.

    Attributes:
        row: What counts; None for a note, which is about the swap before it.
        at: When it was written, in seconds since 1970. Nothing is decided by it.
        about: Further values, such as ``by`` and ``mode`` of what has begun.
    """

    row: Row | None
    at: float
    about: dict[str, Any]


def _line(entry: Entry) -> bytes:
    values: dict[str, Any] = {"at": entry.at, **entry.about}
    row = entry.row
    if row is None:
        values["row"] = "note"
    else:
        values["row"] = _NAMES[type(row)]
        values |= attrs.asdict(row)
        members = values.get("members")
        if members is not None:
            values["members"] = sorted(members)
    text = json.dumps(values, ensure_ascii=True, sort_keys=True).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _entry(line: bytes) -> Entry:
    """Return what a line says.

    Raises:
        ValueError: It is damaged.
    """
    checksum, _, text = line.removesuffix(b"\n").partition(b" ")
    if int(checksum, 16) != zlib.crc32(text) or not line.endswith(b"\n"):
        raise ValueError("its checksum is wrong, or it is not whole")
    values = json.loads(text)
    kind = _KINDS.get(values.pop("row"))
    at = float(values.pop("at"))
    if kind is None:
        return Entry(None, at, values)
    names = [field.name for field in attrs.fields(kind)]
    known = {name: values.pop(name) for name in names if name in values}
    if known.get("members") is not None:
        known["members"] = frozenset(known["members"])
    return Entry(kind(**known), at, values)


def _parse(data: bytes, path: str) -> tuple[list[Entry], int]:
    """Return what is in a journal, and how many bytes of it are whole.

    Raises:
        FleetError: A line before the last one is damaged.
    """
    entries: list[Entry] = []
    whole = 0
    lines = data.splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        try:
            entries.append(_entry(line))
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                break  # torn: it was never told
            raise FleetError(
                "the journal of the fleet is damaged",
                file=path,
                line=number,
                why=str(error),
                hint="put back a copy of it, or move it away and use "
                "'luminal fleet recover'",
            ) from None
        whole += len(line)
    return entries, whole


def committed_before(rows: Iterable[Row], unit: str, digest: str) -> Begin | None:
    """Return what was committed last of *unit* with other bytes than *digest*."""
    begun: Begin | None = None
    found: Begin | None = None
    is_other = False
    for row in rows:
        if type(row) is Begin:
            begun = row
            is_other = row.unit == unit and row.digest != digest
        elif type(row) is Commit and is_other:
            found = begun
    return found


def compacted(entries: Sequence[Entry], kept: int = _KEPT) -> list[Entry]:
    """Return those of *entries* that are still needed.

    They lead to the same `Log`, to the same roll-back of each unit, and have the latest
    swaps.

    Args:
        entries: Of a journal.
        kept: How many of the latest swaps are kept in any case; at least two are: one
            that is open, and the last one that was decided.
    """
    rows = [entry.row for entry in entries if entry.row is not None]
    needed = {row.number for row in rows if type(row) is Begin}
    needed = {*sorted(needed)[-max(kept, 2) :]}
    for unit, decisions in Log(rows).table.items():
        needed.update(decision.number for decision in decisions)
        before = committed_before(rows, unit, decisions[-1].digest)
        if before is not None:
            needed.add(before.number)
    return [entry for entry in entries if _number_of(entry) in needed]


def _number_of(entry: Entry) -> int:
    """Return the number of the decision that an entry is about."""
    row = entry.row
    return row.number if row is not None else int(entry.about.get("number", 0))


def read_journal(path: str) -> list[Entry]:
    """Return what is in the journal at *path*, also while another has it open.

    Args:
        path: Of the file. Where there is none, nothing is in it.

    Raises:
        FleetError: It cannot be read, or is damaged.
    """
    try:
        with open(path, "rb") as file:
            return _parse(file.read(), path)[0]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unusable(path, error) from error


def _unusable(path: str, error: OSError) -> FleetError:
    return FleetError(
        "the journal of the fleet cannot be used", file=path, why=str(error)
    )


class Journal:
    """The open journal of a fleet, for the one process that decides.

    Args:
        path: Of the file. It is made if it does not exist, with its directories.
        most_bytes: A longer one is compacted, see `compacted`.

    Raises:
        JournalBusyError: Another process has it open.
        FleetError: It cannot be opened or is damaged, or its file system has no locks.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, most_bytes: int = _MOST_BYTES
    ) -> None:
        self.path: str = os.path.abspath(path)
        self._descriptor = -1
        self._lock_of_writes: threading.Lock = threading.Lock()
        directory = os.path.dirname(self.path)
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            self._open()
            begin_anew_in_forks(self)
            self._entries, self._size = self._read()
            if self._size > most_bytes:
                self._compact()
            make_durable(directory)
        except OSError as error:
            self.close()
            raise _unusable(self.path, error) from error
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        """Open the file that has the path, and lock it."""
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        while True:
            self._descriptor = os.open(self.path, flags, 0o600)
            self._lock(self._descriptor)
            if _is_at(self.path, self._descriptor):
                return
            # Another process has compacted it meanwhile, and ended.
            self._close()

    def _compact(self) -> None:
        """Replace the file by a shorter one; where that fails, it goes on as it is.

        Raises:
            OSError: It is not known whether the shorter one would be there after a loss
                of power.
        """
        entries = compacted(self._entries)
        data = b"".join(map(_line, entries))
        path = os.path.realpath(self.path)  # a symbolic link stays one
        beside = f"{path}.new"
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0)
        descriptor = -1
        try:
            descriptor = os.open(beside, flags, 0o600)
            self._lock(descriptor)  # before anybody can open it by its name
            written = 0
            while written < len(data):
                written += os.pwrite(descriptor, data[written:], written)
            os.fsync(descriptor)
            os.replace(beside, path)
        except (OSError, FleetError) as error:
            _log.warning("the journal %s stays as long as it is: %s", path, error)
            if descriptor >= 0:
                os.close(descriptor)
            with suppress(OSError):
                os.unlink(beside)
            return
        os.close(self._descriptor)
        self._descriptor, self._size = descriptor, len(data)
        self._entries = entries
        make_durable(os.path.dirname(path))

    def _lock(self, descriptor: int) -> None:
        """Take a lock, which the process keeps until it closes the file or ends."""
        try:
            if os.name == "nt":
                import msvcrt

                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
            else:
                import fcntl

                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
                raise JournalBusyError(
                    "another process decides for this fleet",
                    file=self.path,
                    hint="end that one first, or name another journal",
                ) from None
            raise FleetError(
                "the journal of the fleet cannot be locked",
                file=self.path,
                why=f"{error}: without locks two processes could decide",
                hint="keep it on a file system that has flock",
            ) from None

    def begin_anew(self) -> None:
        """Leave the lock to the parent: a child would keep it when that has ended."""
        self._lock_of_writes = threading.Lock()
        self.close()

    def _read(self) -> tuple[list[Entry], int]:
        """Return its entries, and cut off what was torn."""
        size = os.fstat(self._descriptor).st_size
        data = b""
        while len(data) < size:
            chunk = os.pread(self._descriptor, size - len(data), len(data))
            if not chunk:
                break
            data += chunk
        entries, whole = _parse(data, self.path)
        if whole != size:
            os.ftruncate(self._descriptor, whole)
            os.fsync(self._descriptor)
        return entries, whole

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All that is in it, the oldest first."""
        return tuple(self._entries)

    @property
    def latest(self) -> tuple[Entry, ...]:
        """What is in it of the latest swap; nothing where there was none."""
        entries = tuple(self._entries[-_MOST_OF_ONE:])
        for at in range(len(entries) - 1, -1, -1):
            if type(entries[at].row) is Begin:
                return entries[at:]
        return ()

    @property
    def rows(self) -> list[Row]:
        """What counts of it."""
        return [entry.row for entry in self._entries if entry.row is not None]

    def append(self, row: Row, **about: object) -> None:
        """Write a row. It is durable when this returns, so it takes milliseconds.

        Args:
            row: The row.
            **about: Values of JSON that tell people more.

        Raises:
            OSError: It is certainly not there, for a full disk or the like.
            FleetError: It is not known whether it is there: nothing more must be
                decided with this object. To open the journal anew tells.
        """
        self._write(Entry(row, time.time(), about), is_durable=True)

    def note(self, **about: object) -> None:
        """Write what nothing depends on, such as how long a swap took.

        Where that fails, it is not there.
        """
        with suppress(OSError, FleetError):
            self._write(Entry(None, time.time(), about), is_durable=False)

    def _write(self, entry: Entry, *, is_durable: bool) -> None:
        with self._lock_of_writes:
            if self._descriptor < 0:
                raise FleetError("the journal of the fleet is closed", file=self.path)
            line = _line(entry)
            try:
                written = 0
                while written < len(line):
                    at = self._size + written
                    written += os.pwrite(self._descriptor, line[written:], at)
            except OSError:
                self._cut()
                raise
            if is_durable:
                try:
                    os.fsync(self._descriptor)
                except OSError as error:
                    # The kernel may have dropped it, and says so only once.
                    self._close()
                    raise _unusable(self.path, error) from error
            self._size += len(line)
            self._entries.append(entry)

    def _cut(self) -> None:
        """Take away the part of a line that was written."""
        try:
            os.ftruncate(self._descriptor, self._size)
            os.fsync(self._descriptor)
        except OSError as error:
            self._close()
            raise _unusable(self.path, error) from error

    def close(self) -> None:
        """Give the journal back. Again does nothing."""
        with self._lock_of_writes:
            self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _is_at(path: str, descriptor: int) -> bool:
    """Whether the open file is the one that has *path*."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def make_durable(path: str) -> None:
    """Wait until a file, or what a directory lists, is on the disk.

    Where a directory cannot be opened, as on Windows, nothing is done.

    Args:
        path: Of the file or directory.

    Raises:
        OSError: The disk has failed.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
