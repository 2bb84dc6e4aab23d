"""Reads lines from a file, from standard input, or from a file that grows."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def decode(line: bytes) -> str:
    """Return *line* as text without its line end. Invalid UTF-8 is escaped."""
    return line.rstrip(b"\r\n").decode("utf-8", "backslashreplace")


def read_lines(path: str) -> Iterator[tuple[str, int]]:
    """Yield each line of a file and its length in bytes.

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
    """Yield the lines of a file, and then those that are appended to it.

    A file that is replaced or truncated is read again from its start. A line is yielded
    once its line end has been written.

    Args:
        path: Path of a file.
        poll_seconds: Seconds to wait at the end of the file.
        is_over: Called at the end of the file; True ends the reading.
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
                was_moved = True  # read it to its end: it may have grown before
            elif is_over():
                return
            else:
                time.sleep(poll_seconds)
    finally:
        file.close()


def was_replaced(file: BinaryIO, path: str) -> bool:
    """Return whether another file is at *path* now, or the same one, truncated."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False  # a rotation is under way: the new file will appear
    here = os.fstat(file.fileno())
    if (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino):
        return True
    return file.seekable() and there.st_size < file.tell()
