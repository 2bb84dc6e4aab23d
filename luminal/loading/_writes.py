"""Note what files the code of photons writes, see `record_writes`."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from luminal.loading._importer import PhotonLoader

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["Write", "latest_start", "look_at_writes", "record_writes", "take_write"]

_WRITING = os.O_WRONLY | os.O_RDWR

_PATHS = {"open": 1, "os.remove": 1, "os.rename": 2, "os.link": 2, "os.symlink": 2}
"""Audit event → how many of its arguments are paths.

Source: "Audit events table" of the Python documentation; ``os.replace`` raises
``os.rename``.
"""

_STARTING = frozenset(
    {"subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty", "os.system"}
)
"""Audit events of a process that is started; the same source."""

_MOST = 1000
"""Files of which the latest writes are remembered."""

_LATE = 1.0
"""Seconds for which a file is written at most, from the call that opens it.

It counts up to the moment at which the watch looks at the file, just after the write.
"""

_TICK = 10_000_000
"""Nanoseconds by which the time of a file may be behind the clock."""

_Value = TypeVar("_Value")
_Stamp = tuple[int, int, int, int]
"""What of a file differs after each write: times, size and number."""


@attrs.frozen
class Write:
    """A file was opened for writing, moved or deleted by the code of a photon.

    Or a process was started, which may write.

    Attributes:
        unit: The unit of that code.
        file: Where the code is.
        line: Likewise.
        at: When, as wall-clock time, to be compared with times of files.
    """

    unit: str
    file: str
    line: int
    at: float


@attrs.define
class _Written:
    """The latest write of a file.

    Attributes:
        write: By whom.
        stamp: Of the file after it; None where it was deleted.
        is_seen: Whether the stamp is known.
    """

    write: Write
    stamp: _Stamp | None = None
    is_seen: bool = False


# Real path → its latest write, the earliest first.
_writes: dict[str, _Written] = {}
# Names of these files, the earliest first. Some may be of files that are known no more.
_names: dict[str, None] = {}
# The latest process that a photon has started: where, and `time.monotonic()` then.
_start: tuple[Write, float] | None = None
_lock = threading.Lock()
_is_recording = False


def record_writes() -> None:
    """Note from now on which files photons write, by ``open`` and functions of `os`.

    Python offers this by an audit hook (PEP 578), which cannot be removed again: each
    audited call takes 0.1 µs more. So it is to be called only where it is needed.
    What child processes and libraries in C write is not seen; that a process is started
    is, see `latest_start`.
    """
    global _is_recording
    with _lock:
        if not _is_recording:
            _is_recording = True
            sys.addaudithook(_note)


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    count = _PATHS.get(event)
    if count is None and event not in _STARTING:
        return
    try:
        if count is None:
            _note_start()
        elif event != "open" or arguments[2] & _WRITING:
            _note_write(arguments[:count])
    except Exception:  # noqa: BLE001 - it would be raised by what the program calls
        return  # anybody may raise such an event, with any arguments


def _writer() -> Write | None:
    """Return where the code of a photon is that has raised an audit event."""
    frame: FrameType | None = sys._getframe(3)  # noqa: SLF001 - documented
    while frame is not None:
        loader: Any = frame.f_globals.get("__loader__")
        if type(loader) is PhotonLoader:
            unit, file = loader.generation.unit, frame.f_code.co_filename
            return Write(unit, file, frame.f_lineno or 0, time.time())
        frame = frame.f_back
    return None


def _note_start() -> None:
    global _start
    write = _writer()
    if write is not None:
        _start = write, time.monotonic()


def latest_start(since: float) -> Write | None:
    """Return where a photon has started a process last; None if that was earlier.

    Args:
        since: In seconds of the monotonic clock.
    """
    return _start[0] if _start is not None and _start[1] > since else None


def _note_write(paths: tuple[Any, ...]) -> None:
    write = _writer()
    if write is None and not _writes:
        return
    for path in paths:
        try:
            plain = os.fsdecode(path)
            if write is None and not _may_be_known(plain):
                continue
            real = os.path.realpath(plain)
        except (OSError, TypeError, ValueError):
            continue  # an open file, or something that is about to be refused
        _writes.pop(real, None)
        if write is not None:
            _keep(_names, _name_of(real), None)
            _keep(_writes, real, _Written(write))


def _may_be_known(path: str) -> bool:
    """Whether *path* may lead to a file that a photon has written.

    Every call of the program that opens a file for writing pays for this, so no link
    on the way there is followed. One at its end may have another name than the file.
    """
    return _name_of(path) in _names or os.path.islink(path)


def _name_of(path: str) -> str:
    return os.path.normcase(path[path.rfind(os.sep) + 1 :])


def _keep(latest: dict[str, _Value], key: str, value: _Value) -> None:
    """Add *key* as the latest one; forget the earliest of too many."""
    latest.pop(key, None)
    latest[key] = value
    if len(latest) > _MOST:
        latest.pop(next(iter(latest)), None)


def look_at_writes() -> None:
    """Note what photons have written so far: another stamp is another's write."""
    for path, written in list(_writes.items()):
        if not written.is_seen:
            _look(path, written)


def _look(path: str, written: _Written) -> None:
    at = int(written.write.at * 1e9)
    stamp = _stamp_of(path)
    if stamp is None or at - _TICK <= stamp[1] <= at + _LATE * 1e9:
        written.stamp, written.is_seen = stamp, True


def _stamp_of(path: str) -> _Stamp | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def take_write(path: str) -> Write | None:
    """Return the write that has left the file at *path* as it is, once.

    None where that was not seen, or was not by a photon.
    """
    written = _writes.pop(os.path.realpath(path), None) if _writes else None
    if written is None:
        return None
    if not written.is_seen:
        _look(path, written)
    is_as_left = written.is_seen and written.stamp == _stamp_of(path)
    return written.write if is_as_left else None
