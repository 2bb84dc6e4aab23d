"""A log of what was asked of hosts from outside and accepted, chained by hashes.

A line is one JSON object with its number, the hash of the line before, and its own
hash. A line that is changed, removed or moved breaks the chain at a place that can be
named. Lines that are cut off at the end cannot be noticed, nor can a log that somebody
has written anew from the start: who may write the file is this user.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import attrs

from luminal.errors import AuditLogError
from luminal.store import lock_descriptor, open_regular, state_directory
from luminal.trust._tree import MALFORMED, canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["AuditLog", "AuditRow", "describe"]

_NAME = "audit.jsonl"
_DOMAIN = b"luminal-audit-v1\0"
_START = "0" * 64
_LONGEST = 64 * 1024
"""Bytes of a line."""


def _default_path() -> str:
    directory = state_directory()
    if directory is None:
        raise AuditLogError(
            "there is no directory for the log of accepted operations",
            why="the user has no home directory",
            hint="set LUMINAL_STATE_DIR to an absolute path",
        )
    return os.path.join(directory, _NAME)


@attrs.frozen
class AuditRow:
    """One accepted operation.

    Attributes:
        number: Counts them, from 1.
        at: Wall-clock time in milliseconds since the epoch.
        operation: ``reload``, ``unload``, ``disable``, ``enable`` or ``roll-back``.
        photons: Of each photon: its name, the generation that ran, and the digest of
            what was to run.
        by: What has approved it: ``socket``, ``page``, or the name of a second factor.
        pid: Process of the host.
        previous: Hash of the row before.
        hash: SHA-256 of all of this.
    """

    number: int
    at: int
    operation: str
    photons: tuple[tuple[str, int, str], ...]
    by: str
    pid: int
    previous: str
    hash: str = ""

    def digest(self) -> str:
        """Return what `hash` must be."""
        values = {**attrs.asdict(self), "photons": [list(p) for p in self.photons]}
        del values["hash"]
        return hashlib.sha256(_DOMAIN + canonical_json(values)).hexdigest()

    @classmethod
    def of_line(cls, line: bytes) -> AuditRow:
        """Return the row of a line.

        Raises:
            ValueError: It is none; says why.
        """
        if len(line) > _LONGEST:
            raise ValueError("it is too long")
        try:
            values = json.loads(line)
            photons = tuple((str(n), int(g), str(d)) for n, g, d in values["photons"])
            row = cls(**{**values, "photons": photons})
            digest = row.digest()
        except MALFORMED:
            raise ValueError("it is no record of an operation") from None
        if row.hash != digest:
            raise ValueError("its text is not what its hash was made of")
        return row

    def to_line(self) -> bytes:
        """Return the line of the row."""
        return json.dumps(attrs.asdict(self), sort_keys=True).encode() + b"\n"


@attrs.define(eq=False)
class AuditLog:
    """The log of this user's hosts. Several may append to it at once.

    Args:
        path: Absolute path of the file; by default ``audit.jsonl`` in the directory
            for state.

    Raises:
        AuditLogError: There is no such directory.
    """

    path: str = attrs.field(factory=_default_path)
    _lock: threading.Lock = attrs.field(init=False, factory=threading.Lock)

    def append(
        self, operation: str, photons: Sequence[tuple[str, int, str]], by: str
    ) -> AuditRow:
        """Write that an operation was accepted, to the disk, before it is done.

        A last line that was not written to its end, because a host was killed, is
        removed first.

        Raises:
            AuditLogError: It cannot be written; the operation must not be done.
        """
        with self._lock:
            try:
                os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
                flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
                flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
                descriptor = os.open(self.path, flags, 0o600)
            except OSError as error:
                raise self._error("cannot be opened", str(error)) from error
            try:
                with lock_descriptor(descriptor):
                    return self._append(descriptor, operation, photons, by)
            except OSError as error:
                raise self._error("cannot be written", str(error)) from error
            finally:
                os.close(descriptor)

    def _append(
        self,
        descriptor: int,
        operation: str,
        photons: Sequence[tuple[str, int, str]],
        by: str,
    ) -> AuditRow:
        end, last = _last_line(descriptor)
        if os.fstat(descriptor).st_size > end:
            os.ftruncate(descriptor, end)
        number, previous = 0, _START
        if last:
            try:
                before = AuditRow.of_line(last)
            except ValueError as error:
                raise self._error(
                    "ends with a line that is wrong", str(error)
                ) from None
            number, previous = before.number, before.hash
        at = int(time.time() * 1000)
        row = AuditRow(
            number + 1, at, operation, tuple(photons), by, os.getpid(), previous
        )
        row = attrs.evolve(row, hash=row.digest())
        os.lseek(descriptor, end, os.SEEK_SET)
        rest = memoryview(row.to_line())
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, end)
            raise
        return row

    def rows(self) -> Iterator[AuditRow]:
        """Yield the rows, oldest first.

        Raises:
            AuditLogError: A line was changed, removed or added; its number is the
                error's line. The rows before it have been yielded.
        """
        number, previous = 0, _START
        try:
            file = open_regular(self.path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._error("cannot be read", str(error)) from error
        with file:
            for at, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return  # a host was killed while it wrote; the next one removes it
                why = ""
                try:
                    row = AuditRow.of_line(line)
                except ValueError as error:
                    why = str(error)
                else:
                    if row.previous != previous or row.number != number + 1:
                        why = "it does not follow the line before it"
                if why:
                    raise self._error("was changed", why, at)
                number, previous = row.number, row.hash
                yield row

    def _error(self, what: str, why: str, line: int | None = None) -> AuditLogError:
        return AuditLogError(
            f"the log of accepted operations {what}",
            file=self.path,
            line=line,
            why=why,
            hint="find out who writes there; then move the file away, and a new one "
            "is begun",
        )


def _last_line(descriptor: int) -> tuple[int, bytes]:
    """Return where the last whole line ends, and that line."""
    size = os.fstat(descriptor).st_size
    start = max(0, size - 2 * _LONGEST)
    os.lseek(descriptor, start, os.SEEK_SET)
    data = b""
    while len(data) < size - start:
        part = os.read(descriptor, size - start - len(data))
        if not part:
            break
        data += part
    whole = data[: data.rfind(b"\n") + 1]
    return start + len(whole), whole[whole.rfind(b"\n", 0, -1) + 1 :]


def describe(row: AuditRow) -> dict[str, Any]:
    """Return *row* as values of JSON."""
    return {
        **attrs.asdict(row),
        "photons": [
            {"photon": name, "generation": number, "digest": digest}
            for name, number, digest in row.photons
        ],
    }
