"""`Sentinel`: removes compiled files that no longer belong to any source.

What comes in are directories that the host loads photons from; what goes out are
``.pyc`` files whose source is gone or has changed, and ``__pycache__`` directories
that are empty then. It touches nothing else, follows no link out of its directories,
and does nothing before it is authorized and started.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import stat
import threading
from typing import TYPE_CHECKING

from luminal.loading import claimed_directories
from luminal.supervise import TracedThread

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Sentinel"]

_logger = logging.getLogger("luminal.tools.sentinel")


class Sentinel:
    """Watches directories in the background and cleans them.

    Args:
        *directories: What to watch; more may be given to `watch` later. Without any,
            the directories that this process loads photons from, now and later.
        interval: Seconds between two sweeps.

    Attributes:
        authorized: Nothing is removed, and `start` does nothing, while this is
            False, as it is at first.
        removed: Paths of everything it has removed so far.
    """

    def __init__(self, *directories: str | os.PathLike[str], interval: float = 60.0):
        self.authorized = False
        self.interval = interval
        self.removed: list[str] = []
        self._directories = [os.path.realpath(d) for d in directories]
        self._follows_the_host = not directories
        self._thread: TracedThread | None = None
        self._called = threading.Event()

    @property
    def directories(self) -> tuple[str, ...]:
        """What it watches."""
        found = list(self._directories)
        if self._follows_the_host:
            found += sorted(map(os.path.realpath, claimed_directories()))
        return tuple(dict.fromkeys(found))

    @property
    def is_running(self) -> bool:
        """Whether it watches now."""
        return self._thread is not None and self._thread.is_alive()

    def watch(self, directory: str | os.PathLike[str]) -> None:
        """Watch *directory* as well."""
        path = os.path.realpath(directory)
        if path not in self._directories:
            self._directories.append(path)
        self._called.set()

    def start(self) -> bool:
        """Begin to watch; the first sweep comes at once.

        Returns:
            Whether it runs now: only if it was authorized.
        """
        if not self.authorized:
            return False
        if not self.is_running:
            self._thread = TracedThread(
                target=self._run, name="luminal-sentinel", daemon=True
            )
            self._thread.start()
        return True

    def stop(self) -> None:
        """Stop watching, and wait for a sweep under way to end."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.halting.set()
            self._called.set()
            thread.join()

    def _run(self) -> None:
        halting = threading.current_thread().halting  # type: ignore[attr-defined]
        while not halting.is_set():
            self._called.clear()
            try:
                self.sweep()
            except OSError:
                _logger.exception("a sweep failed")
            self._called.wait(self.interval)

    def sweep(self) -> list[str]:
        """Remove what is stale now, and return the paths; nothing if not authorized."""
        removed: list[str] = []
        for directory in self.directories:
            if directory not in self._directories:  # photons that go leave files, too
                self._directories.append(directory)
            for path in _stale_files(directory):
                if not self.authorized:
                    return removed
                if _remove(path):
                    removed.append(path)
        self.removed += removed
        return removed


def _stale_files(directory: str) -> Iterator[str]:
    for folder, folders, files in os.walk(directory, topdown=False, followlinks=False):
        is_cache = os.path.basename(folder) == "__pycache__"
        for name in files:
            path = os.path.join(folder, name)
            if name.endswith(".pyc") and _is_stale(path, is_cache=is_cache):
                yield path
        if is_cache and not folders and not os.listdir(folder):
            yield folder


def _is_stale(path: str, *, is_cache: bool) -> bool:
    if not stat.S_ISREG(os.lstat(path).st_mode):
        return False
    try:
        source = importlib.util.source_from_cache(path) if is_cache else path[:-1]
    except ValueError:
        return False  # not a name that the interpreter gives: not ours to judge
    try:
        found = os.stat(source)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return is_cache and not _is_of(path, found)


def _is_of(path: str, source: os.stat_result) -> bool:
    """Whether the compiled file at *path* was made from that *source* (PEP 552)."""
    try:
        with open(path, "rb") as file:
            header = file.read(16)
    except OSError:
        return True
    if len(header) < 16 or int.from_bytes(header[4:8], "little"):
        return True  # checked by its hash, not by time: valid as far as we can say
    seconds = int.from_bytes(header[8:12], "little")
    size = int.from_bytes(header[12:16], "little")
    return (
        seconds == int(source.st_mtime) & 0xFFFFFFFF
        and size == source.st_size & 0xFFFFFFFF
    )


def _remove(path: str) -> bool:
    try:
        if os.path.isdir(path):
            os.rmdir(path)
        else:
            os.unlink(path)
    except OSError:
        return False  # somebody was faster, or it is not ours
    return True
