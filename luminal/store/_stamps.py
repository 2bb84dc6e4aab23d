"""What changes whenever a file does, and when that proves that it has not changed."""

from __future__ import annotations

import os
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MARGIN", "Stamp", "settled", "stamp_of"]

MARGIN = 2_000_000_000
"""Nanoseconds by which a file must be older than a look at it for its stamp to tell.

Two writes within one tick of the file system's clock have one stamp. Ticks are
nanoseconds to 10 ms on Linux, 1 s on HFS+, 2 s on FAT.
"""

Stamp = tuple[int, int, int, int, int, int]
"""(mode, inode, device, size, ``mtime_ns``, ``ctime_ns``) of a file."""

stamp_of: Callable[[os.stat_result], Stamp] = attrgetter(
    "st_mode", "st_ino", "st_dev", "st_size", "st_mtime_ns", "st_ctime_ns"
)
"""Return what changes whenever the file does, see `settled`."""


def settled(stamp: Stamp, now: int) -> bool:
    """Return whether an equal stamp later on proves that the file is unchanged.

    It does where the file was already `MARGIN` old when it was looked at: any later
    write gets a later ``ctime``, which no program can set back. Windows has no such
    time, so there a stamp proves nothing.

    Args:
        stamp: The stamp that was seen.
        now: The clock at or before that moment, in nanoseconds.
    """
    return os.name != "nt" and max(stamp[4], stamp[5]) + MARGIN <= now
