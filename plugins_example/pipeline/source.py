"""Where lines come from: a file, standard input, or a file that still grows."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def decode(line: bytes) -> str:
    """Return *line* as text without its end; a log may hold any byte."""
    return line.rstrip(b"\r\n").decode("utf-8", "backslashreplace")


def read_lines(path: str) -> Iterator[tuple[str, int]]:
    """Yield each line of the file at *path* and its length in bytes.

    Args:
        path: Path of a file; ``-`` is standard input.
    """
    if path == "-":
        yield from ((decode(line), len(line)) for line in sys.stdin.buffer)
        return
    with open(path, "rb") as file:
        yield from ((decode(line), len(line)) for line in file)


def follow_lines(
    path: str,
    *,
    poll_seconds: float = 0.2,
    is_over: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[str, int]]:
    """Yield what is in the file at *path* and then what is appended to it.

    A file that is replaced by a new one of the same name, or cut short, is read
    again from its start. A line is yielded once its end has been written.

    Args:
        path: Path of a file.
        poll_seconds: How long to rest after the end of the file was met.
        is_over: Asked at each rest; when it says True, following ends.
    """
    file = open(path, "rb")  # noqa: SIM115 - replaced when the log is rotated
    try:
        rest = b""
        was_moved = False
        while True:
            chunk = file.readline()
            if chunk.endswith(b"\n"):
                yield decode(rest + chunk), len(rest + chunk)
                rest = b""
                continue
            rest += chunk
            if chunk:
                continue
            if was_moved and os.path.exists(path):
                file.close()
                file = open(path, "rb")  # noqa: SIM115 - as above
                rest, was_moved = b"", False
            elif was_replaced(file, path):
                was_moved = True  # and once more to its end: it may have grown before
            elif is_over():
                return
            else:
                time.sleep(poll_seconds)
    finally:
        file.close()


def was_replaced(file: BinaryIO, path: str) -> bool:
    """Return whether *path* is another file than the open *file*, or a shorter one."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False  # between the two halves of a rotation: the new one will come
    here = os.fstat(file.fileno())
    if (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino):
        return True
    return file.seekable() and there.st_size < file.tell()
