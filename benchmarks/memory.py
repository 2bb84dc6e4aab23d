"""What the process holds, and what of it is in use.

What a process holds grows by fragmentation too: Python and the C library return memory
to the system only where nothing is left in a whole piece of it. A leak shows in what is
in use.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import threading

__all__ = ["bytes_held", "bytes_in_use"]

_FIELDS = (
    "arena", "ordblks", "smblks", "hblks", "hblkhd",
    "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
)  # fmt: skip
_OF_BLOCKS = re.compile(r"# bytes in allocated blocks\s*=\s*([\d,]+)")


class _MallInfo(ctypes.Structure):
    """``struct mallinfo2`` of glibc 2.33 and later, see mallinfo(3)."""

    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS]


def bytes_held() -> int:
    """Return the bytes of memory that the process has; Linux only."""
    with open("/proc/self/statm", encoding="ascii") as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def bytes_in_use() -> tuple[int, int]:
    """Return the bytes that are in use, of Python's allocator and of the C library's.

    The second has what is larger than 512 bytes, such as large tables; it is 0 where
    the C library does not tell.
    """
    return _of_python(), _of_c()


def _of_python() -> int:
    """Read `sys._debugmallocstats`, which writes to the descriptor of stderr."""
    reader, writer = os.pipe()
    parts: list[bytes] = []

    def read() -> None:
        with open(reader, "rb") as stream:
            parts.append(stream.read())

    thread = threading.Thread(target=read)
    sys.stderr.flush()
    kept = os.dup(2)
    os.dup2(writer, 2)
    os.close(writer)
    thread.start()
    try:
        sys._debugmallocstats()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        thread.join()
    found = _OF_BLOCKS.search(parts[0].decode())
    return int(found[1].replace(",", "")) if found else 0


def _of_c() -> int:
    try:
        ask = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError):
        return 0
    ask.restype = _MallInfo
    info = ask()
    return int(info.uordblks) + int(info.hblkhd)
