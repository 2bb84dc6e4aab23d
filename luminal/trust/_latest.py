"""Values of files that are read again only where the file may have changed."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Latest"]

T = TypeVar("T")

# Nanoseconds by which a file must be older than a look at it for its stamp to tell: two
# writes within one tick of the file system's clock have one stamp.
_MARGIN = 2_000_000_000


class Latest(Generic[T]):
    """Reads files of one kind; what has not changed is read once.

    It has not where its stamp is the same, and was old when the file was read: any
    later write gets a later ``ctime``, which no program can set back. Windows has no
    such time. What was written just now, and all on Windows, is read again, and parsed
    again only where the bytes are others.

    Args:
        load: Returns the bytes of the file at a path.
        parse: Returns the value of such bytes; is told the path as well.
    """

    def __init__(
        self, load: Callable[[str], bytes], parse: Callable[[bytes, str], T]
    ) -> None:
        self._load = load
        self._parse = parse
        # Path → stamp, bytes and value; stored as one, as threads share it.
        self._known: dict[str, tuple[tuple[int, ...], bytes, T]] = {}

    def __reduce__(self) -> tuple[object, ...]:
        return Latest, (self._load, self._parse)  # another process looks itself

    def of(self, path: str) -> T:
        """Return the value of the file at *path* as it is now.

        Args:
            path: Its absolute path.

        Raises:
            FileNotFoundError: There is none.
            Exception: What loading or parsing it raises.
        """
        now = time.time_ns()
        status = os.stat(path)
        changed = max(status.st_mtime_ns, status.st_ctime_ns)
        stamp = status.st_dev, status.st_ino, status.st_size, changed
        known = self._known.get(path)
        if known is not None and known[0] == stamp:
            return known[2]
        data = self._load(path)
        is_same = known is not None and known[1] == data
        value = known[2] if known is not None and is_same else self._parse(data, path)
        is_old = changed + _MARGIN <= now and os.name != "nt"
        self._known[path] = stamp if is_old else (), data, value
        return value
