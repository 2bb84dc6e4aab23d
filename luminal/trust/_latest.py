"""Values of files that are read again only where the file may have changed."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Generic, TypeVar

from luminal.store import settled, stamp_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from luminal.store import Stamp

__all__ = ["Latest"]

T = TypeVar("T")


class Latest(Generic[T]):
    """Reads files of one kind; what has not changed is read once.

    It has not where its stamp is the same, and proved something, see
    `luminal.store.settled`. Other files are read again, and parsed again only where the
    bytes are others.

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
        self._known: dict[str, tuple[Stamp | None, bytes, T]] = {}

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
        try:
            stamp = stamp_of(os.stat(path))
        except FileNotFoundError:
            raise
        except OSError:
            self._load(path)  # says what is wrong
            raise
        known = self._known.get(path)
        if known is not None and known[0] == stamp:
            return known[2]
        data = self._load(path)
        is_same = known is not None and known[1] == data
        value = known[2] if known is not None and is_same else self._parse(data, path)
        self._known[path] = stamp if settled(stamp, now) else None, data, value
        return value
