"""Helpers for hosts: `Sentinel`, `Logger` and `SystemUtils`."""

from __future__ import annotations

import importlib.util
import logging
import os
import platform
import stat
import sys
import threading
from typing import TYPE_CHECKING, Any

from luminal.loading import claimed_directories
from luminal.supervise import TracedThread

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Logger", "Sentinel", "SystemUtils"]

_logger = logging.getLogger("luminal.tools.sentinel")

NOTE = 22
"""Logging level between INFO and WARNING."""
SUCCESS = 25
"""Logging level between NOTE and WARNING."""


class Logger(logging.LoggerAdapter[logging.Logger]):
    """A standard logger with two more methods, `note` and `success`.

    Levels, handlers, filters and propagation are those of `logging`.

    Args:
        name: Name of the logger.
    """

    def __init__(self, name: str) -> None:
        super().__init__(logging.getLogger(name), {})
        logging.addLevelName(NOTE, "NOTE")
        logging.addLevelName(SUCCESS, "SUCCESS")

    def note(self, message: object, *args: object, **kwargs: Any) -> None:
        """Log *message* at level `NOTE`.

        Args:
            message: As for `logging.Logger.info`.
            *args: Likewise.
            **kwargs: Likewise.
        """
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        self.log(NOTE, message, *args, **kwargs)

    def success(self, message: object, *args: object, **kwargs: Any) -> None:
        """Log *message* at level `SUCCESS`.

        Args:
            message: As for `logging.Logger.info`.
            *args: Likewise.
            **kwargs: Likewise.
        """
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        self.log(SUCCESS, message, *args, **kwargs)


class SystemUtils:
    """Static helpers."""

    @staticmethod
    async def continue_async(seconds: float = 0.0) -> None:
        """Wait while other tasks of the event loop run.

        Args:
            seconds: How long.
        """
        import asyncio

        await asyncio.sleep(seconds)

    @staticmethod
    def describe() -> dict[str, str]:
        """Return the interpreter, the platform and the process id, for a report.

        Example:
            >>> sorted(SystemUtils.describe())
            ['implementation', 'pid', 'platform', 'python']
        """
        return {
            "python": platform.python_version(),
            "implementation": sys.implementation.name,
            "platform": sys.platform,
            "pid": str(os.getpid()),
        }


class Sentinel:
    """Removes stale compiled files in the background.

    A ``.pyc`` file is stale if its source is gone or has changed. A ``__pycache__``
    directory is removed once it is empty. Nothing else is touched, and no link out of
    the directories is followed.

    Args:
        *directories: The directories to clean; `watch` adds more. By default those that
            this process loads photons from, also later ones.
        interval: Seconds between two sweeps.

    Attributes:
        authorized: False at first; while it is, nothing is removed and `start` does
            nothing.
        interval: Seconds between two sweeps.
        removed: Paths of everything that was removed so far.
    """

    def __init__(self, *directories: str | os.PathLike[str], interval: float = 60.0):
        self.authorized = False
        self.interval = interval
        self.removed: list[str] = []
        self._directories = [os.path.realpath(d) for d in directories]
        self._follows_host = not directories
        self._thread: TracedThread | None = None
        self._wakeup = threading.Event()

    @property
    def directories(self) -> tuple[str, ...]:
        """The directories that it cleans."""
        found = list(self._directories)
        if self._follows_host:
            found += sorted(map(os.path.realpath, claimed_directories()))
        return tuple(dict.fromkeys(found))

    @property
    def is_running(self) -> bool:
        """Whether its thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def watch(self, directory: str | os.PathLike[str]) -> None:
        """Clean *directory* too.

        Args:
            directory: Its path.
        """
        path = os.path.realpath(directory)
        if path not in self._directories:
            self._directories.append(path)
        self._wakeup.set()

    def start(self) -> bool:
        """Start the thread, which begins with a sweep.

        Returns:
            Whether it runs now: True only if it is authorized.
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
        """Stop the thread, and wait until a sweep under way has ended."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.halting.set()
            self._wakeup.set()
            thread.join()

    def _run(self) -> None:
        halting = threading.current_thread().halting  # type: ignore[attr-defined]
        while not halting.is_set():
            self._wakeup.clear()
            try:
                self.sweep()
            except OSError:
                _logger.exception("a sweep failed")
            self._wakeup.wait(self.interval)

    def sweep(self) -> list[str]:
        """Remove what is stale now, if authorized.

        Returns:
            The paths that were removed.
        """
        removed: list[str] = []
        for directory in self.directories:
            if directory not in self._directories:  # also after an unload
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
        return False  # no name that the interpreter gives
    try:
        found = os.stat(source)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return is_cache and not _was_made_from(path, found)


def _was_made_from(path: str, source: os.stat_result) -> bool:
    """Whether the compiled file at *path* was made from that *source* (PEP 552)."""
    try:
        with open(path, "rb") as file:
            header = file.read(16)
    except OSError:
        return True
    if len(header) < 16 or int.from_bytes(header[4:8], "little"):
        return True  # checked by hash, not by time: cannot be told here
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
        return False  # it is gone already, or we may not remove it
    return True
