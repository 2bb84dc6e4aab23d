"""Note which files the code of photons writes, see `record_writes`."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import attrs

from luminal.loading._importer import PhotonLoader

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["Write", "record_writes", "take_write"]

_WRITING = os.O_WRONLY | os.O_RDWR

_PATHS = {"open": 1, "os.remove": 1, "os.rename": 2, "os.link": 2, "os.symlink": 2}
"""Audit event → how many of its arguments are paths.

Source: "Audit events table" of the Python documentation; ``os.replace`` raises
``os.rename``.
"""

_MOST = 1000
"""Files of which the latest writes are remembered."""

_LATE = 1.0
"""Seconds for which a file is written at most, from the call that opens it."""


@attrs.frozen
class Write:
    """A file was opened for writing, moved or deleted by the code of a photon.

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


# Real path → its latest write, the earliest first.
_writes: dict[str, Write] = {}
_lock = threading.Lock()
_is_recording = False


def record_writes() -> None:
    """Note from now on which files photons write, by ``open`` and functions of `os`.

    Python offers this by an audit hook (PEP 578), which cannot be removed again: each
    audited call takes 0.1 µs more. So it is to be called only where it is needed.
    What child processes and libraries in C write is not seen.
    """
    global _is_recording
    with _lock:
        if not _is_recording:
            _is_recording = True
            sys.addaudithook(_note)


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    count = _PATHS.get(event)
    if count is None or (event == "open" and not arguments[2] & _WRITING):
        return
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - documented
    while frame is not None:
        loader = frame.f_globals.get("__loader__")
        if type(loader) is PhotonLoader:
            break
        frame = frame.f_back
    else:
        return
    code = frame.f_code
    at = Write(
        loader.generation.unit, code.co_filename, frame.f_lineno or 0, time.time()
    )
    for path in arguments[:count]:
        try:
            real = os.path.realpath(os.fsdecode(path))
        except (OSError, TypeError, ValueError):
            continue  # an open file, or something that is about to be refused
        _writes.pop(real, None)
        _writes[real] = at
        if len(_writes) > _MOST:
            _writes.pop(next(iter(_writes)), None)


def take_write(path: str) -> Write | None:
    """Return the write that has left the file at *path* as it is, once.

    None where that was not seen, or was not by a photon.
    """
    write = _writes.pop(os.path.realpath(path), None) if _writes else None
    if write is None:
        return None
    try:
        changed = os.stat(path).st_mtime
    except OSError:
        return write
    return write if changed <= write.at + _LATE else None
