"""News from macOS, Windows and the BSDs, through the watchfiles library.

Its events are hints: it may merge, repeat and reorder them, and does not say when a
file is closed. So each one is news to look, and the snapshot decides.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from typing import Any

from luminal.reload.watching._source import News, add
from luminal.supervise import unowned

__all__ = ["WatchfilesSource"]

_STEP = 20  # milliseconds between two looks of the library at its own queue
_DELETED = 3  # watchfiles.Change.deleted


class WatchfilesSource:
    """One native watch for each tree, each with a thread that waits for it."""

    tells_locks = False

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

    @property
    def blind(self) -> str | None:
        """Set while links are involved: the library does not tell of them."""
        return "links are not told of on this system" if self._links else None

    def enter(self, folder: str) -> None:
        """Map *folder*; a tree that is not covered gets a watch of its own."""
        real = os.path.realpath(folder)
        self._folders.setdefault(real, set()).add(folder)
        if not any(_is_inside(real, top) for top in self._watches):
            try:
                # paths, debug, force_polling, poll_delay_ms, recursive, permissions
                watch = self._native([real], False, False, 300, True, True)
            except OSError:
                return  # gone again; the next listing says so
            self._watches[real] = watch
            pump = threading.Thread(
                target=self._pump, args=(real, watch), name="luminal-pump", daemon=True
            )
            with unowned():
                pump.start()

    def leave(self, folder: str) -> None:
        """Forget the name."""
        for real, folders in list(self._folders.items()):
            folders.discard(folder)
            if not folders:
                del self._folders[real]

    def link(self, path: str) -> None:
        """Remember whether there is a link on the way."""
        if os.path.islink(path):
            self._links.add(path)

    def unlink(self, path: str) -> None:
        """Forget the link."""
        self._links.discard(path)

    def guard(self, git_directory: str) -> None:
        """Nothing to do: locks are looked at while a batch is open."""

    def wait(self, timeout: float) -> bool:
        """Sleep until a pump brings something."""
        try:
            self._changes = self._queue.get(timeout=timeout) or set()
        except queue.Empty:
            return False
        return bool(self._changes)

    def read(self) -> dict[str, News]:
        """Return what the pump brought, as news to look."""
        news: dict[str, News] = {}
        for change, path in self._changes:
            parent, name = os.path.split(path)
            is_folder = path in self._folders or os.path.isdir(path)
            for folder in self._folders.get(parent, ()):
                if is_folder:
                    add(news, os.path.join(folder, name), News.RELIST)
                else:
                    gone = change == _DELETED and not os.path.lexists(path)
                    what = News.GONE if gone else News.WRITTEN
                    add(news, os.path.join(folder, name), what)
            for folder in self._folders.get(path, ()) if path in self._watches else ():
                add(news, folder, News.RELIST)
        return news

    def wake(self) -> None:
        """Put nothing into the queue."""
        self._queue.put(None)

    def close(self) -> None:
        """Let the pumps end."""
        self._stop.set()

    def _pump(self, real: str, watch: Any) -> None:
        try:
            while not self._stop.is_set():
                changes = watch.watch(_STEP, _STEP, 5000, self._stop)
                if isinstance(changes, set):
                    self._queue.put(changes)
        except Exception:  # noqa: BLE001 - the native part raises what it likes
            # The tree cannot be watched any more: a later `enter` begins anew.
            time.sleep(1)
            self._queue.put({(_DELETED, real)})
        finally:
            self._watches.pop(real, None)
            watch.close()


def _is_inside(path: str, top: str) -> bool:
    return path == top or path.startswith(top.rstrip(os.sep) + os.sep)
