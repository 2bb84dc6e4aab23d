"""File events of macOS, Windows and the BSDs, through the watchfiles library.

Its events are hints: it may merge, repeat and reorder them, and does not report when a
file is closed. So each event only means that a path is to be looked at.
"""

from __future__ import annotations

import os
import queue
import threading
from typing import Any

from luminal.reload.watching._source import FileEvent, add
from luminal.supervise import unowned

__all__ = ["WatchfilesSource"]

_STEP = 20  # milliseconds between two looks of the library at its own queue
_DELETED = 3  # watchfiles.Change.deleted


class WatchfilesSource:
    """A native watch for each tree, each with a thread that reads its events."""

    reports_locks = False

    def __init__(self) -> None:
        import watchfiles._rust_notify as native  # the documented low-level interface

        self._native: Any = native.RustNotify
        self._stop = threading.Event()
        self._queue: queue.SimpleQueue[set[tuple[int, str]] | None] = (
            queue.SimpleQueue()
        )
        self._changes: set[tuple[int, str]] = set()
        # Real path of a native watch → the watch.
        self._watches: dict[str, Any] = {}
        # Real path of a folder → the tree's names for it.
        self._folders: dict[str, set[str]] = {}
        self._links: set[str] = set()
        # Why a tree could not be watched; empty where all are.
        self._problem = ""

    @property
    def polling_reason(self) -> str | None:
        """Set while changes of links, or of a whole tree, are not reported."""
        if self._problem:
            return self._problem
        return "this system does not report changes of links" if self._links else None

    def add_folder(self, folder: str) -> None:
        """Remember *folder*; a tree that no watch covers gets one of its own."""
        real = os.path.realpath(folder)
        self._folders.setdefault(real, set()).add(folder)
        if not any(_is_inside(real, top) for top in self._watches):
            try:
                # paths, debug, force_polling, poll_delay_ms, recursive, permissions
                watch = self._native([real], False, False, 300, True, True)
            except OSError as problem:
                if os.path.isdir(real):  # else the next listing says so
                    self._problem = f"{real!r} sends no events ({problem})"
                return
            self._watches[real] = watch
            pump = threading.Thread(
                target=self._pump, args=(real, watch), name="luminal-pump", daemon=True
            )
            with unowned():
                pump.start()

    def remove_folder(self, folder: str) -> None:
        """Forget *folder*."""
        for real, folders in list(self._folders.items()):
            folders.discard(folder)
            if not folders:
                del self._folders[real]

    def add_link(self, path: str) -> None:
        """Remember whether there is a link on the way."""
        if os.path.islink(path):
            self._links.add(path)

    def remove_link(self, path: str) -> None:
        """Forget the link."""
        self._links.discard(path)

    def add_git_directory(self, git_directory: str) -> None:
        """Nothing to do: locks are checked while a batch is open."""

    def wait(self, timeout: float) -> bool:
        """Sleep until one of the threads has events."""
        try:
            self._changes = self._queue.get(timeout=timeout) or set()
        except queue.Empty:
            return False
        return bool(self._changes)

    def read(self) -> dict[str, FileEvent]:
        """Return the events of the threads, as events that ask for a look."""
        events: dict[str, FileEvent] = {}
        for change, path in self._changes:
            parent, name = os.path.split(path)
            is_folder = path in self._folders or os.path.isdir(path)
            for folder in self._folders.get(parent, ()):
                if is_folder:
                    add(events, os.path.join(folder, name), FileEvent.RELIST)
                else:
                    gone = change == _DELETED and not os.path.lexists(path)
                    what = FileEvent.GONE if gone else FileEvent.WRITTEN
                    add(events, os.path.join(folder, name), what)
            # Of the top of a tree, no folder above is known.
            for folder in self._folders.get(path, ()):
                add(events, folder, FileEvent.RELIST)
        return events

    def wake(self) -> None:
        """Make `wait` return without events."""
        self._queue.put(None)

    def close(self) -> None:
        """Ask the threads to end."""
        self._stop.set()

    def _pump(self, real: str, watch: Any) -> None:
        is_lost = False
        try:
            while not self._stop.is_set():
                changes = watch.watch(_STEP, _STEP, 5000, self._stop)
                if isinstance(changes, set):
                    self._queue.put(changes)
        except Exception:  # noqa: BLE001 - the native part raises any exception
            is_lost = True
            self._stop.wait(1.0)
        finally:
            self._watches.pop(real, None)
            watch.close()
        if is_lost:  # the tree is listed, and `add_folder` tries again
            self._queue.put({(_DELETED, real)})


def _is_inside(path: str, top: str) -> bool:
    return path == top or path.startswith(top.rstrip(os.sep) + os.sep)
